//! Consent in the browser: `/oauth2/authorize` asks whether it is wanted and sends it to the provider, `/oauth2/callback` takes it back.
//!
//! ```text
//! API: authorizeUrl, signed, for minutes ─► authorize: question + cookie ─► its form: token once, cookie
//!                                                                            └► provider ─► callback: state once, cookie, code
//!                                                                                             └► exchange ─► kept ─► page or redirect
//! ```
//!
//! A state is random, works once and for `oauth.state-lifetime`, and belongs to the browser that got its cookie, to one
//! connection and one holder. What goes wrong ends on a page that says what to do, with a reference that is in the log.

mod accounts;
mod asking;
mod crossing;
mod owed;
mod pages;
mod states;
pub(crate) mod story;

pub(crate) use accounts::choose_url;
pub(crate) use owed::{GivingBack, OwedOptions};
pub(crate) use states::OauthOptions;

use crate::boot::http::Answer;
use crate::boot::plane::random;
use crate::control::Desk;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crossing::Crossings;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use pages::{Page, Pages, Problem};
use perseat_admin::actor::Actor;
use perseat_admin::fault::Fault;
use perseat_admin::grants::{Connection, Consent};
use perseat_domain::grant::{Holder, Outcome};
use perseat_flow::oauth::{AccountsError, Exchange, OauthClient, Whose};
use perseat_store::catalog::GrantId;
use perseat_store::seal::key_digest;
use states::{Pending, States};
use std::collections::BTreeMap;
use std::sync::Arc;
use url::Url;

/// Where the browser begins.
pub(crate) const AUTHORIZE: &str = "/oauth2/authorize";
/// Where the provider sends it back.
pub(crate) const CALLBACK: &str = "/oauth2/callback";
/// Where the link of a notice leads.
pub(crate) const RECONNECT: &str = "/oauth2/reconnect";
/// Where one of several accounts is chosen.
pub(crate) const ACCOUNTS: &str = "/oauth2/accounts";
const COOKIE: &str = "perseat-oauth";

/// See the module.
#[derive(Debug)]
pub(crate) struct Door {
    client: OauthClient,
    options: OauthOptions,
    /// The questions that pages ask, and the consents that were begun.
    questions: States,
    states: States,
    /// What may not go on at once.
    crossings: Crossings,
    pages: Pages,
}

/// Names a connection and who asked for its consent, in a signed URL.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) id: GrantId,
    pub(crate) by: String,
}

impl Ticket {
    fn parameters(&self) -> [(&'static str, String); 4] {
        let kind = match self.id.holder {
            Holder::Instance(_) => "instance",
            Holder::UserConfig(_) => "user",
            Holder::Organization(_) => "shared-by-all",
            Holder::Customer(_) => "shared-by-customer",
            Holder::User(_) => "shared-by-user",
        };
        [
            ("for", kind.to_owned()),
            ("holder", self.id.holder.uuid().to_string()),
            ("connection", self.id.variable.clone()),
            ("by", self.by.clone()),
        ]
    }

    fn read(parameters: &[(String, String)]) -> Option<Self> {
        let text = |name: &str| parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let holder = text("holder")?.parse().ok()?;
        let holder = match text("for")?.as_str() {
            "instance" => Holder::Instance(perseat_domain::id::InstanceId(holder)),
            "user" => Holder::UserConfig(perseat_domain::id::UserConfigId(holder)),
            "shared-by-all" => Holder::Organization(perseat_domain::id::OrganizationId(holder)),
            "shared-by-customer" => Holder::Customer(perseat_domain::id::CustomerId(holder)),
            "shared-by-user" => Holder::User(perseat_domain::id::UserId(holder)),
            _ => return None,
        };
        Some(Self {
            id: GrantId {
                holder,
                variable: text("connection")?,
            },
            by: text("by")?,
        })
    }
}

/// The address that begins a consent; whoever has it may, for some minutes.
pub(crate) fn begin_url(desk: &Desk, ticket: &Ticket) -> String {
    let parameters = ticket.parameters();
    let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    desk.api_url(&desk.signer().sign(AUTHORIZE, &parameters, desk.now()))
}

/// The address that a notice takes along; it works until its connection is connected again, and no longer than the notice says.
pub(crate) fn reconnect_url(desk: &Desk, ticket: &Ticket, secret: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(ticket.parameters()).append_pair("token", secret);
    desk.api_url(&format!("{RECONNECT}?{}", query.finish()))
}

/// 256 random bits as text that a URL and a cookie can carry.
pub(crate) fn secret() -> String {
    URL_SAFE_NO_PAD.encode(random_bytes())
}

fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&random().to_be_bytes());
    bytes[16..].copy_from_slice(&random().to_be_bytes());
    bytes
}

/// What a provider sent back. `None` where something that counts comes twice (RFC 6749, 3.1): nobody chooses which of the two it is.
fn each_once(query: &str) -> Option<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()).into_owned() {
        let counts = ["state", "code", "error"].contains(&name.as_str());
        if all.insert(name, value).is_some() && counts {
            return None;
        }
    }
    Some(all)
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let found = pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned());
    found.filter(|value| value.len() == 43)
}

/// Lets the browser be known when it comes back.
fn give_cookie(answer: &mut Answer, browser: &str, options: &OauthOptions, desk: &Desk) {
    let secure = if desk.api_url(CALLBACK).starts_with("https:") {
        "; Secure"
    } else {
        ""
    };
    let lifetime = options.state_lifetime.as_secs();
    let cookie = format!("{COOKIE}={browser}; Path=/oauth2; HttpOnly; SameSite=Lax; Max-Age={lifetime}{secure}");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, value);
    }
}

impl Door {
    pub(crate) fn new(client: OauthClient, options: OauthOptions) -> Self {
        Self {
            client,
            questions: States::new(options.states, options.states_per_connection),
            states: States::new(options.states, options.states_per_connection),
            crossings: Crossings::default(),
            pages: Pages::new(),
            options,
        }
    }

    /// The rules by which grants are kept.
    pub(crate) fn options(&self) -> &OauthOptions {
        &self.options
    }

    /// Begins the consent that a notice asked for. The link is no more than that: opening it spends nothing.
    pub(crate) async fn reconnect(&self, desk: &Arc<Desk>, query: &str) -> Answer {
        let parameters: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let token = parameters
            .iter()
            .find(|(name, _)| name == "token")
            .map(|(_, token)| key_digest(token));
        let (Some(ticket), Some(token)) = (Ticket::read(&parameters), token) else {
            return self.pages.failed(&Page::new(Problem::LinkExpired, None));
        };
        let (reading, id) = (Arc::clone(desk), ticket.id.clone());
        let notice = match tokio::task::spawn_blocking(move || reading.catalog().notice_of(&id)).await {
            Ok(Ok(notice)) => notice,
            Ok(Err(error)) => return self.pages.failed(&Page::new(Problem::NotKept, Some(&error.to_string()))),
            Err(error) => return self.pages.failed(&Page::new(Problem::NotKept, Some(&error.to_string()))),
        };
        let now = desk.now();
        let links = notice.map(|notice| notice.links).unwrap_or_default();
        let mut open = links.iter().filter(|link| now < link.until);
        let is_it = open.any(|link| aws_lc_rs::constant_time::verify_slices_are_equal(&link.digest.0, &token.0).is_ok());
        // Who asked is what the notice says, not what the address does.
        let ticket = Ticket {
            by: "notice".to_owned(),
            ..ticket
        };
        match begin_url(desk, &ticket).parse() {
            Ok(url) if is_it => go_to(&url),
            _ => self.pages.failed(&Page::new(Problem::LinkExpired, None)),
        }
    }

    /// Takes the browser back.
    pub(crate) async fn callback(&self, desk: &Arc<Desk>, query: &str, headers: &HeaderMap) -> Answer {
        let Some(parameters) = each_once(query) else {
            return self
                .pages
                .failed(&Page::new(Problem::StateExpired, Some("a parameter comes twice")));
        };
        let state = parameters.get("state").map_or("", String::as_str);
        let Some(pending) = self.states.take(state, desk.now()) else {
            return self.pages.failed(&Page::new(Problem::StateExpired, None));
        };
        let is_its_browser = cookie(headers)
            .is_some_and(|cookie| aws_lc_rs::constant_time::verify_slices_are_equal(cookie.as_bytes(), pending.browser.as_bytes()).is_ok());
        if !is_its_browser {
            return self.pages.failed(&Page::new(Problem::OtherBrowser, None));
        }
        let connection = match self.connection(desk, &pending.ticket.id).await {
            Ok(Some(connection)) => connection,
            Ok(None) => return self.pages.failed(&Page::new(Problem::Gone, None)),
            Err(page) => return self.pages.failed(&page),
        };
        match self.take_back(desk, &connection, &pending, &parameters).await {
            Ok(awaits_account) => {
                tracing::info!(holder = ?pending.ticket.id.holder, connection = %pending.ticket.id.variable, by = %pending.ticket.by, "a consent was given");
                if awaits_account && let Ok(url) = choose_url(desk, &pending.ticket).parse() {
                    return go_to(&url);
                }
                // With the account that it has now.
                let kept = self.connection(desk, &pending.ticket.id).await.ok().flatten();
                self.connected(kept.as_ref().unwrap_or(&connection))
            }
            Err(page) => {
                page.tell(&pending.ticket);
                match self.redirects(&connection).failure {
                    Some(url) => go_to(&told(url, &connection, Some(&page))),
                    None => self.pages.shown(&page),
                }
            }
        }
    }

    async fn take_back(
        &self,
        desk: &Arc<Desk>,
        connection: &Connection,
        pending: &Pending,
        parameters: &BTreeMap<String, String>,
    ) -> Result<bool, Page> {
        if let Some(error) = parameters.get("error") {
            let problem = match error.as_str() {
                "access_denied" | "consent_required" | "interaction_required" | "login_required" => Problem::Denied,
                "server_error" | "temporarily_unavailable" => Problem::ProviderDown,
                _ => Problem::Refused,
            };
            return Err(Page::new(problem, Some(error)));
        }
        let Some(code) = parameters.get("code").filter(|code| !code.is_empty()) else {
            return Err(Page::new(Problem::Refused, Some("no code")));
        };
        let provider = connection
            .provider()
            .map_err(|error| Page::new(Problem::Incomplete, Some(&error.to_string())))?;
        // What was allowed to one registration is nobody's else, and neither is the proof that comes with it.
        if connection.registration() != pending.registration {
            return Err(Page::new(Problem::NotKept, Some(&Fault::Stale.to_string())));
        }
        // Until what comes is kept.
        let _crossing = match provider.place() {
            Some(place) => Some(self.crossings.consent(place).await),
            None => None,
        };
        let grant = pending.ticket.id.to_key();
        let whose = Whose {
            customer: connection.party().customer,
            grant: &grant,
        };
        let exchange = self
            .client
            .exchange(&provider, code, &desk.api_url(CALLBACK), &pending.pkce, whose)
            .await;
        let (token, renewed) = match (&exchange, exchange.outcome(&provider, None)) {
            (Exchange::Token(token), Outcome::Token(renewed)) => (token.clone(), renewed),
            (_, Outcome::Over(reason)) => return Err(Page::new(Problem::Refused, Some(&reason))),
            (_, Outcome::Passing { reason, .. } | Outcome::Unknown(reason)) => {
                let is_down = reason.starts_with("http_5")
                    || ["http_429", "rate_limited", "provider_unreachable", "connection_broken", "timeout"].contains(&reason.as_str());
                let problem = if is_down { Problem::ProviderDown } else { Problem::Refused };
                return Err(Page::new(problem, Some(&reason)));
            }
            (Exchange::Not(_), Outcome::Token(_)) => return Err(Page::new(Problem::Refused, None)),
        };
        let accounts = match provider.lists_accounts() {
            true => Some(
                self.client
                    .accounts(&provider, token.access_token())
                    .await
                    .map_err(|error| unlisted(&error))?,
            ),
            false => None,
        };
        let (desk, ticket, rules) = (Arc::clone(desk), pending.ticket.clone(), self.options.rules);
        let registration = pending.registration;
        let kept = tokio::task::spawn_blocking(move || {
            let actor = Actor::local(format!("oauth2:{}", ticket.by));
            desk.change(&actor, "oauth2.consent", |edit| {
                let consent = Consent {
                    token: &token,
                    renewed,
                    registration,
                    accounts: accounts.as_deref(),
                };
                edit.keep_consent(&ticket.id, &consent, &rules)
            })
        });
        match kept.await {
            Ok(Ok(awaits_account)) => Ok(awaits_account),
            Ok(Err(error)) => Err(Page::new(Problem::NotKept, Some(&error.to_string()))),
            Err(error) => Err(Page::new(Problem::NotKept, Some(&error.to_string()))),
        }
    }

    async fn connection(&self, desk: &Arc<Desk>, id: &GrantId) -> Result<Option<Connection>, Page> {
        let (desk, id) = (Arc::clone(desk), id.clone());
        let found = tokio::task::spawn_blocking(move || Connection::find(desk.catalog(), desk.custody().keyring(), &id)).await;
        match found {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(Page::new(Problem::NotKept, Some(&error.to_string()))),
            Err(error) => Err(Page::new(Problem::NotKept, Some(&error.to_string()))),
        }
    }
}

/// Why a consent is not kept whose accounts are not known.
fn unlisted(error: &AccountsError) -> Page {
    let problem = match error {
        AccountsError::Down(_) => Problem::AccountsDown,
        AccountsError::Unreadable(_) => Problem::AccountsUnreadable,
        AccountsError::TooMany(..) => Problem::TooManyAccounts,
        AccountsError::None => Problem::NoAccount,
    };
    Page::new(problem, Some(&error.to_string()))
}

/// The custom address with what its page needs to know.
fn told(mut url: Url, connection: &Connection, failed: Option<&Page>) -> Url {
    {
        let mut query = url.query_pairs_mut();
        if let Some(configured) = connection.configured() {
            query.append_pair("instance", &configured.instance.id.global());
            query.append_pair("integration", &configured.integration.id.global());
        }
        query.append_pair("configVariable", &connection.name);
        if let Some(page) = failed {
            query.append_pair("error", page.problem.word());
            query.append_pair("reference", &page.reference);
        }
    }
    url
}

fn go_to(url: &Url) -> Answer {
    let mut answer = Response::new(http_body_util::Full::default());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    let headers = answer.headers_mut();
    if let Ok(value) = HeaderValue::from_str(url.as_str()) {
        headers.insert(header::LOCATION, value);
    }
    pages::keep_private(headers);
    answer
}
