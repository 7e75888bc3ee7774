//! A third party with OAuth 2.0: it exchanges refresh tokens as it is told to, takes a second use for theft, and remembers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::within;

/// When the token endpoint falls silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    /// It was asked, and did nothing: the call has status 0.
    Before,
    /// It did what it was asked for.
    After,
    /// The same, and it answers as soon as it stalls no more; a code is exchanged meanwhile.
    Meanwhile,
}

/// What is peculiar to the provider.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// Whether a refresh token is exchanged when it is used.
    pub(crate) rotates: bool,
    /// For how long a second use is forgiven.
    pub(crate) grace: Option<Duration>,
    /// `expires_in` of its answers.
    pub(crate) lifetime: Option<Value>,
    /// Whether each access token is good until its end, and no longer, whatever was given after it; else the newest alone is.
    pub(crate) keeps: bool,
    /// Whether the token stands within another object.
    pub(crate) nested: bool,
    /// Whether it answers with a form instead of JSON.
    pub(crate) form: bool,
    /// The status and headers of all answers of the token endpoint, in place of tokens.
    pub(crate) refuses: Option<(u16, Option<u64>)>,
    /// The same of the revocation endpoint, where it takes nothing back.
    pub(crate) revokes: Option<(u16, Option<u64>)>,
    /// Whether it takes back all that a person allowed a client with any token of theirs: whose name is the account's up to a dot.
    pub(crate) together: bool,
    /// The error that the token endpoint names in place of tokens.
    pub(crate) complaint: Option<&'static str>,
    /// The error that it names to a client with another secret.
    pub(crate) stranger: &'static str,
    /// The status by which its API refuses a token.
    pub(crate) refusal: u16,
    /// Whether its API refuses every token.
    pub(crate) forbids: bool,
    /// Whether the connection breaks after a token was made.
    pub(crate) breaks: bool,
    /// Whether the token endpoint never answers.
    pub(crate) stalls: Option<Stall>,
    /// Whether its API answers nobody until it does so no more.
    pub(crate) holds: bool,
    /// Users whose calls its API refuses, and for how many seconds they are asked to stay away.
    pub(crate) limited: BTreeMap<String, u64>,
    /// Whether its refusals repeat what they were sent.
    pub(crate) repeats: bool,
    /// What it says of the accounts that a token reaches, by user: status and body.
    pub(crate) accounts: BTreeMap<String, (u16, String)>,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            rotates: true,
            grace: None,
            lifetime: Some(json!(3600)),
            keeps: false,
            nested: false,
            form: false,
            refuses: None,
            revokes: None,
            together: false,
            complaint: None,
            stranger: "invalid_client",
            refusal: 401,
            forbids: false,
            breaks: false,
            stalls: None,
            holds: false,
            limited: BTreeMap::new(),
            repeats: false,
            accounts: BTreeMap::new(),
        }
    }
}

impl Manner {
    /// When an access token ends that is given now, if it says so.
    fn end(&self) -> Option<Instant> {
        let lifetime = self.lifetime.as_ref()?;
        let seconds = lifetime.as_u64().or_else(|| lifetime.as_str()?.parse().ok())?;
        Some(Instant::now() + Duration::from_secs(seconds))
    }
}

/// What somebody allowed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// The number of the newest tokens.
    pub(crate) newest: u64,
    /// The client that it was allowed to, where that is known: no other can give it back (RFC 7009, section 2.1).
    client: Option<String>,
    pub(crate) is_revoked: bool,
    /// Whether a refresh token was used a second time, out of its grace.
    pub(crate) was_reused: bool,
    /// Access tokens up to this number are good no more.
    ended: u64,
    exchanged_at: Option<Instant>,
    /// When the access tokens end that were given for refresh tokens, by number.
    ends: BTreeMap<u64, Instant>,
    /// How often the newest refresh token was used and not exchanged.
    kept: u64,
}

impl Chain {
    /// Whether the access token of this number is good now.
    fn is_good(&self, number: u64, keeps: bool) -> bool {
        number > self.ended
            && match keeps {
                true => self.ends.get(&number).is_some_and(|end| Instant::now() < *end),
                false => number == self.newest,
            }
    }
}

/// A request to it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Method and path.
    pub(crate) target: String,
    /// The form.
    pub(crate) form: BTreeMap<String, String>,
    /// The bearer token.
    pub(crate) token: String,
    pub(crate) headers: HeaderMap,
    /// When it came.
    pub(crate) at: Instant,
    /// What it was answered, or was to be.
    pub(crate) status: u16,
}

#[derive(Debug, Default)]
struct State {
    manner: Manner,
    /// By user.
    chains: BTreeMap<String, Chain>,
    /// User and challenge by code.
    codes: BTreeMap<String, (String, BTreeMap<String, String>)>,
    /// How many codes it has given: none is given twice.
    codes_given: u64,
    calls: Vec<Call>,
}

/// A running provider; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Oauth {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    server: AbortHandle,
}

/// The tokens of a user, as they are supplied: number 1.
pub(crate) fn first_tokens(user: &str) -> String {
    format!("{{access_token: access-{user}-1, refresh_token: refresh-{user}-1, expires_in: \"3600\"}}")
}

impl Oauth {
    /// Starts on a free port.
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            manner,
            ..State::default()
        }));
        let changed = watch::Sender::new(0);
        let desk = (Arc::clone(&state), changed.clone());
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let desk = desk.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| answer(desk.clone(), request));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            address,
            state,
            changed,
            server: server.abort_handle(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on it behaves otherwise.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.state().manner);
        self.changed.send_modify(|count| *count += 1);
    }

    /// The user's tokens of number 1 are known.
    pub(crate) fn allow(&self, user: &str) {
        let chain = Chain {
            newest: 1,
            ..Chain::default()
        };
        self.state().chains.insert(user.to_owned(), chain);
    }

    /// Takes back what the user allowed.
    pub(crate) fn revoke(&self, user: &str) {
        self.state().chains.get_mut(user).unwrap().is_revoked = true;
    }

    /// Ends the user's access tokens; the refresh token is still good.
    pub(crate) fn end_access(&self, user: &str) {
        let mut state = self.state();
        let chain = state.chains.get_mut(user).unwrap();
        chain.ended = chain.newest;
    }

    pub(crate) fn chain(&self, user: &str) -> Chain {
        self.state().chains.get(user).cloned().unwrap_or_default()
    }

    /// The browser came with these parameters and the user consented: the code that it is sent back with.
    pub(crate) fn consent(&self, user: &str, parameters: BTreeMap<String, String>) -> String {
        let mut state = self.state();
        let code = format!("code-{user}-{}", state.codes_given);
        state.codes_given += 1;
        state.codes.insert(code.clone(), (user.to_owned(), parameters));
        code
    }

    /// The calls to paths that begin so, in order.
    pub(crate) fn calls(&self, path: &str) -> Vec<Call> {
        let state = self.state();
        let at = |call: &&Call| call.target.split(' ').nth(1).is_some_and(|at| at.starts_with(path));
        state.calls.iter().filter(at).cloned().collect()
    }

    /// Waits until it was called so often at paths that begin so, and answered.
    pub(crate) async fn until(&self, path: &str, count: usize) -> Vec<Call> {
        self.until_like(path, count, |_| true).await
    }

    /// Waits for so many answered calls that are like this.
    pub(crate) async fn until_like(&self, path: &str, count: usize, is_like: impl Fn(&Call) -> bool) -> Vec<Call> {
        let mut seen = self.changed.subscribe();
        let like = || -> Vec<Call> { self.calls(path).into_iter().filter(|call| is_like(call)).collect() };
        let enough = seen.wait_for(|_| like().len() >= count);
        within(&format!("call {count} of {path}"), enough).await.unwrap();
        like()
    }
}

impl Drop for Oauth {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Desk = (Arc<Mutex<State>>, watch::Sender<u64>);

async fn answer((state, changed): Desk, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = text("authorization").trim_start_matches("Bearer ").to_owned();
    let path = head.uri.path().to_owned();
    let (answer, stalls, breaks) = {
        let mut state = state.lock().unwrap();
        let is_code = form.contains_key("code");
        let (stalls, breaks) = match path.starts_with("/token") {
            true => (
                state.manner.stalls.filter(|stall| *stall != Stall::Meanwhile || !is_code),
                state.manner.breaks,
            ),
            false => (None, false),
        };
        let mut answer = match path.as_str() {
            _ if stalls == Some(Stall::Before) => (0, "", None, String::new()),
            path if path.starts_with("/token") => state.token(&form),
            path if path.starts_with("/revoke") => state.give_back(&form),
            "/userinfo" => state.accounts(&token),
            _ => state.work(&token),
        };
        if state.manner.repeats && answer.0 >= 400 {
            let code = serde_json::from_str::<Value>(&answer.3).unwrap_or_default();
            answer.3 = json!({ "error": code["error"], "error_description": format!("{form:?} {token}") }).to_string();
        }
        state.calls.push(Call {
            target: format!("{} {path}", head.method),
            form,
            token,
            headers: head.headers.clone(),
            at: Instant::now(),
            status: answer.0,
        });
        (answer, stalls, breaks)
    };
    changed.send_modify(|count| *count += 1);
    if stalls == Some(Stall::Meanwhile) {
        let mut seen = changed.subscribe();
        let goes_on = seen.wait_for(|_| state.lock().unwrap().manner.stalls.is_none());
        goes_on.await.map_err(std::io::Error::other)?;
    } else if stalls.is_some() {
        return std::future::pending().await;
    }
    if path.starts_with("/work") {
        let mut seen = changed.subscribe();
        let goes_on = seen.wait_for(|_| !state.lock().unwrap().manner.holds);
        goes_on.await.map_err(std::io::Error::other)?;
    }
    if breaks {
        return Err(std::io::Error::other("broken on purpose"));
    }
    let (status, content_type, retry_after, body) = answer;
    let mut response = Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header(header::CONTENT_TYPE, content_type);
    if let Some(seconds) = retry_after {
        response = response.header(header::RETRY_AFTER, seconds);
    }
    Ok(response.body(Full::new(body.into())).unwrap())
}

type Answer = (u16, &'static str, Option<u64>, String);

/// Whether the verifier answers the challenge that the browser came with (RFC 7636).
fn is_answered(asked: &BTreeMap<String, String>, verifier: Option<&String>) -> bool {
    use aws_lc_rs::digest::{SHA256, digest};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let answer = verifier.map(|verifier| match asked.get("code_challenge_method").map(String::as_str) {
        Some("S256") => URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())),
        _ => verifier.clone(),
    });
    asked.get("code_challenge") == answer.as_ref()
}

fn refusal(status: u16, code: &str) -> Answer {
    (status, "application/json", None, json!({ "error": code }).to_string())
}

impl State {
    fn work(&self, token: &str) -> Answer {
        let parts: Vec<&str> = token.split('-').collect();
        let limited = parts.get(1).and_then(|user| self.manner.limited.get(*user));
        if let Some(seconds) = limited {
            return (429, "text/html", Some(*seconds), "<html>too many</html>".into());
        }
        let is_valid = match parts.as_slice() {
            ["access", user, number] => self
                .chains
                .get(*user)
                .is_some_and(|chain| !chain.is_revoked && chain.is_good(number.parse().unwrap_or(0), self.manner.keeps)),
            ["own", ..] => true,
            _ => false,
        };
        if is_valid && !self.manner.forbids {
            (200, "application/json", None, json!({ "ok": true }).to_string())
        } else {
            refusal(self.manner.refusal, "invalid_token")
        }
    }

    fn accounts(&self, token: &str) -> Answer {
        let allowed = self.work(token);
        let user = token.split('-').nth(1).unwrap_or_default();
        match self.manner.accounts.get(user) {
            Some((status, body)) if allowed.0 == 200 => (*status, "application/json", None, body.clone()),
            _ => allowed,
        }
    }

    fn token(&mut self, form: &BTreeMap<String, String>) -> Answer {
        let manner = self.manner.clone();
        if let Some((status, retry_after)) = manner.refuses {
            return (status, "text/html", retry_after, "<html>later</html>".into());
        }
        if let Some(code) = manner.complaint {
            return refusal(400, code);
        }
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let basic = field("client_id").is_empty();
        let own = format!("secret-of-{}", field("client_id"));
        if !basic && field("client_secret") != "the-client-secret" && field("client_secret") != own {
            return refusal(401, manner.stranger);
        }
        match field("grant_type") {
            "client_credentials" => {
                let number = self.calls.len();
                return self.given(&format!("own-token-{number}"), None);
            }
            "authorization_code" => {
                let Some((user, asked)) = self.codes.remove(field("code")) else {
                    return refusal(400, "invalid_grant");
                };
                let fits = asked.get("redirect_uri").map(String::as_str) == Some(field("redirect_uri"))
                    && is_answered(&asked, form.get("code_verifier"));
                if !fits {
                    return refusal(400, "invalid_grant");
                }
                let newest = self.chains.get(&user).map_or(1, |chain| chain.newest + 1);
                let chain = Chain {
                    newest,
                    client: form.get("client_id").cloned(),
                    ..Chain::default()
                };
                self.chains.insert(user.clone(), chain);
                let refresh = format!("refresh-{user}-{newest}");
                return self.given(&format!("access-{user}-{newest}"), Some(&refresh));
            }
            _ => {}
        }
        let parts: Vec<&str> = field("refresh_token").split('-').collect();
        let ["refresh", user, number] = parts.as_slice() else {
            return refusal(400, "invalid_grant");
        };
        let number: u64 = number.parse().unwrap_or(0);
        let Some(chain) = self.chains.get_mut(*user).filter(|chain| !chain.is_revoked) else {
            return refusal(400, "invalid_grant");
        };
        let forgiven = chain
            .exchanged_at
            .zip(manner.grace)
            .is_some_and(|(at, grace)| number + 1 == chain.newest && at.elapsed() <= grace);
        if number + chain.kept == chain.newest || !manner.rotates {
            chain.newest += 1;
            chain.exchanged_at = Some(Instant::now());
            chain.ends.extend(manner.end().map(|end| (chain.newest, end)));
            chain.kept = if manner.rotates { 0 } else { chain.kept + 1 };
        } else if !forgiven {
            chain.was_reused = true;
            chain.is_revoked = true;
            return refusal(400, "invalid_grant");
        }
        let access = format!("access-{user}-{}", chain.newest);
        let refresh = format!("refresh-{user}-{}", chain.newest);
        self.given(&access, manner.rotates.then_some(refresh.as_str()))
    }

    fn given(&self, access: &str, refresh: Option<&str>) -> Answer {
        let mut token = json!({ "access_token": access, "token_type": "bearer" });
        if let Some(refresh) = refresh {
            token["refresh_token"] = refresh.into();
        }
        if let Some(lifetime) = &self.manner.lifetime {
            token["expires_in"] = lifetime.clone();
        }
        if self.manner.form {
            let pairs = token.as_object().unwrap().iter();
            let pairs = pairs.map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            return (200, "application/x-www-form-urlencoded", None, body);
        }
        let body = if self.manner.nested {
            json!({ "ok": true, "authed_user": token })
        } else {
            token
        };
        (200, "application/json", None, body.to_string())
    }

    fn give_back(&mut self, form: &BTreeMap<String, String>) -> Answer {
        if let Some((status, retry_after)) = self.manner.revokes {
            return (status, "text/html", retry_after, "<html>not now</html>".into());
        }
        let token = form.get("token").map_or("", String::as_str);
        let person = |user: &str| user.split('.').next().map(str::to_owned);
        let user = token.split('-').nth(1).unwrap_or_default();
        for (name, chain) in &mut self.chains {
            let is_the_clients = chain.client.is_none() || chain.client.as_ref() == form.get("client_id");
            let is_the_persons = name == user || (self.manner.together && person(name) == person(user));
            chain.is_revoked |= is_the_clients && is_the_persons;
        }
        (200, "application/json", None, String::new())
    }
}
