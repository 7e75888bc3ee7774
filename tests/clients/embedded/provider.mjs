/**
 * A certified OpenID provider for the walks, and what people do there.
 * @module
 */

import Provider from "oidc-provider";

/** The app that all use. */
export const APP = { client_id: "perseat", client_secret: "canary-of-the-client" };

/**
 * The provider of these apps, at `issuer`, for the daemon at `url`.
 * @param {object[]} apps
 */
export function provide(issuer, url, apps) {
  const redirect_uris = [`${url}/oauth2/callback`];
  return new Provider(issuer, {
    clients: apps.map((app) => ({ ...app, redirect_uris, grant_types: ["authorization_code", "refresh_token"] })),
    features: { devInteractions: { enabled: true }, introspection: { enabled: true }, revocation: { enabled: true } },
    pkce: { required: () => true },
    scopes: ["openid", "offline_access"],
  });
}

/** Whose token a request to the provider's API has. */
export function bearer(provider, request) {
  const [, token] = (request.headers.authorization ?? "").split(" ");
  return token ? provider.AccessToken.find(token) : undefined;
}

/** Each person has an account of their own; carl is in a team, too. */
export async function listAccounts(provider, request, response) {
  const token = await bearer(provider, request);
  const all = token ? [{ id: `${token.accountId}-own`, name: `Own of ${token.accountId}` }] : [];
  if (token?.accountId === "carl") all.push({ id: "carl-team", name: "Team" });
  response.writeHead(token ? 200 : 401, { "content-type": "application/json" });
  response.end(JSON.stringify(all));
}
