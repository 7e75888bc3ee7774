//! What the local socket's routes do with people: the first owner, and links for whoever cannot sign in.

use super::local::{LocalRequest, Router};
use super::tokens::{answered, local};
use crate::control::Desk;
use http::Method;
use perseat_admin::fault::Fault;
use perseat_admin::identity::accounts::NewOwner;
use perseat_domain::model::User;
use perseat_flow::definition::Limits;
use perseat_store::custody::Custody;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// For whom a link is made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LinkFor {
    /// The user's external id or e-mail address.
    pub(crate) user: String,
    /// The customer's external id or name; without it the organization's user.
    pub(crate) customer: Option<String>,
}

/// Adds the routes.
pub(super) fn routes(desk: &Arc<Desk>, router: Router) -> Router {
    let (for_owner, for_link) = (Arc::clone(desk), Arc::clone(desk));
    router
        .route(Method::POST, "/users/owner", move |request: LocalRequest| {
            let desk = Arc::clone(&for_owner);
            async move { super::administration::blocking(move || answered(owner(&desk, &request))).await }
        })
        .route(Method::POST, "/users/link", move |request: LocalRequest| {
            let desk = Arc::clone(&for_link);
            async move { super::administration::blocking(move || answered(link(&desk, &request))).await }
        })
}

fn owner(desk: &Desk, request: &LocalRequest) -> Result<Value, Fault> {
    let new: NewOwner = serde_json::from_slice(&request.body).map_err(|error| Fault::wrong(error.to_string()))?;
    let lifetime = desk.sign_in().invitation_lifetime;
    let (user, secret) = desk.change(&local(), "createOwner", |edit| edit.create_owner(&new, lifetime))?;
    Ok(described(&user, &desk.password_url(&secret)))
}

fn link(desk: &Desk, request: &LocalRequest) -> Result<Value, Fault> {
    let body: LinkFor = serde_json::from_slice(&request.body).map_err(|error| Fault::wrong(error.to_string()))?;
    let lifetime = desk.sign_in().reset_lifetime;
    let (user, secret) = desk.change(&local(), "showPasswordLink", |edit| {
        edit.link_for(body.customer.as_deref(), &body.user, lifetime)
    })?;
    Ok(described(&user, &desk.password_url(&secret)))
}

fn described(user: &User, url: &str) -> Value {
    json!({ "id": user.id.global(), "name": user.name, "email": user.email, "url": url })
}

/// Makes the owner in a directory that no daemon uses; `address` is where the API will be.
pub(crate) fn create_owner_offline(custody: &Custody, new: &NewOwner, address: &str, lifetime: Duration) -> Result<Value, Fault> {
    let mut random = super::plane::random;
    let mut desk = perseat_admin::edit::Desk {
        custody,
        definitions: perseat_admin::edit::Definitions::built_in(Limits::default()),
        actor: &local(),
        at: perseat_actors::kit::Clock::now(&perseat_actors::kit::RealClock::new()),
        random: &mut random,
    };
    let (user, secret) = desk.change("createOwner", |edit| edit.create_owner(new, lifetime))?.value;
    Ok(described(&user, &password_url(address, &secret)))
}

/// Where the holder of a link sets their password.
pub(crate) fn password_url(address: &str, secret: &SecretString) -> String {
    format!("{address}/auth/password?token={}", secret.expose_secret())
}
