"""What must hold of every answer, whatever was asked: see tests/schemathesis.rs.

A look-up that finds nothing has no data and says why; that is no failure here. An error of the server is.
"""

import schemathesis


@schemathesis.check
def answers_are_no_failures_of_the_server(ctx, response, case):
    assert response.status_code < 500, response.text
    body = response.json()
    assert "data" in body, "no GraphQL answer"
    for error in body.get("errors", []):
        code = error.get("extensions", {}).get("code")
        assert code != "INTERNAL" and error["message"], error
