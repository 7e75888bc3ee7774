#!/usr/bin/env bash
# Makes Perseat's customers equal to a list; see sync-customers.md. Prints what it did to each.
set -euo pipefail
list=${1:?the file with the customers}
: "${PERSEAT_URL:?}" "${PERSEAT_TOKEN:?}"

ask() { # ask QUERY VARIABLES: the data of the answer; stops on any error
  local answer
  answer=$(jq -cn --arg query "$1" --argjson variables "$2" '{query: $query, variables: $variables}' |
    curl -sS "$PERSEAT_URL/api" -H "authorization: Bearer $PERSEAT_TOKEN" -H 'content-type: application/json' -d @-)
  jq -e '.data' <<<"$answer" || { jq -r '.errors[].message' <<<"$answer" >&2; exit 1; }
}

accepted() { # accepted FIELD: stops if the mutation's payload has errors
  jq -e --arg field "$1" '.[$field].errors | length == 0' >/dev/null <<<"$2" ||
    { jq -r --arg field "$1" '.[$field].errors[] | .field + ": " + (.messages | join(" "))' <<<"$2" >&2; exit 1; }
}

find='query ($id: String) { customers(externalId: $id) { nodes { id name description labels revision } } }'
create='mutation ($externalId: String, $name: String!, $description: String, $labels: [String]) {
  createCustomer(input: {externalId: $externalId, name: $name, description: $description, labels: $labels}) {
    customer { id } errors { field messages } } }'
update='mutation ($id: ID, $name: String, $description: String, $labels: [String], $revision: BigInt) {
  updateCustomer(input: {id: $id, name: $name, description: $description, labels: $labels, revision: $revision}) {
    customer { id } errors { field messages } } }'

jq -c '.[] | {externalId, name, description: (.description // ""), labels: (.labels // [] | map(ascii_downcase) | unique)}' "$list" |
  while read -r wanted; do
    id=$(jq -r .externalId <<<"$wanted")
    found=$(ask "$find" "$(jq -cn --arg id "$id" '{id: $id}')" | jq -c '.customers.nodes[0]')
    if [ "$found" = null ]; then
      accepted createCustomer "$(ask "$create" "$wanted")"
      echo "created $id"
    elif jq -e --argjson wanted "$wanted" '{name, description, labels} == ($wanted | del(.externalId))' >/dev/null <<<"$found"; then
      echo "unchanged $id"
    else
      accepted updateCustomer "$(ask "$update" "$(jq -c --argjson found "$found" '. + ($found | {id, revision})' <<<"$wanted")")"
      echo "changed $id"
    fi
  done
