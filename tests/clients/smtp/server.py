"""A mail server for tests: prints every letter it takes as one line of JSON.

usage: server.py tls|starttls|none CERT KEY [USER PASSWORD] [--refuse COUNT CODE [--after TAKEN]] [--port PORT]

The first COUNT letters, or those after TAKEN that are taken, are answered with CODE instead. Signing in is required where USER is given.
"""

import asyncio
import json
import ssl
import sys
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult


def say(**fields):
    print(json.dumps(fields), flush=True)


class Letters:
    def __init__(self, refused, code, after):
        self.refused, self.code, self.after = refused, code, after

    async def handle_DATA(self, server, session, envelope):
        if self.after > 0:
            self.after -= 1
        elif self.refused > 0:
            self.refused -= 1
            say(refused=envelope.rcpt_tos)
            return f"{self.code} not now"
        letter = message_from_bytes(envelope.content, policy=policy.default)
        say(
            sender=envelope.mail_from,
            to=envelope.rcpt_tos,
            subject=letter["Subject"],
            headers={name: str(value) for name, value in letter.items()},
            body=letter.get_content(),
            tls=server.transport.get_extra_info("ssl_object") is not None,
            signed_in=bool(session.authenticated),
        )
        return "250 taken"


async def serve():
    words = sys.argv[1:]
    refused, code = 0, 451
    if "--refuse" in words:
        at = words.index("--refuse")
        refused, code = int(words[at + 1]), int(words[at + 2])
        del words[at : at + 3]
    after = 0
    if "--after" in words:
        at = words.index("--after")
        after = int(words[at + 1])
        del words[at : at + 2]
    port = 0
    if "--port" in words:
        at = words.index("--port")
        port = int(words[at + 1])
        del words[at : at + 2]
    security, cert, key, *login = words
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    letters = Letters(refused, code, after)

    def authenticate(server, session, envelope, mechanism, data):
        given = [data.login.decode(), data.password.decode()]
        return AuthResult(success=given == login, handled=False)

    def protocol():
        return SMTP(
            letters,
            hostname="mail.example",
            loop=loop,
            tls_context=context if security == "starttls" else None,
            require_starttls=security == "starttls",
            authenticator=authenticate if login else None,
            auth_required=bool(login),
            auth_require_tls=security == "starttls",
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", port, ssl=context if security == "tls" else None)
    say(port=server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()


asyncio.run(serve())
