//! The API listener: plain or TLS, with limits of its own; where hooks and API share an address, the front's listener instead.

use std::sync::Arc;

use anyhow::Context as _;
use perseat_actors::front::BesideLimits;
use perseat_flow::outbound::OutboundClient;
use perseat_store::executions::ExecutionReader;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Base;
use super::doors::{DoorOptions, Doors};
use super::http::{Limits, serve as serve_http};
use super::listeners::Listeners;
use super::plane::Plane;
use crate::config::Config;
use crate::control::{Control, Desk, Mail, Provider};
use crate::oauth::Door;
use perseat_flow::oauth::OauthClient;

/// What the control plane works with.
pub(super) fn desk(
    config: &Config,
    plane: &Plane,
    listeners: &Listeners,
    executions: ExecutionReader,
    mail: Option<Mail>,
) -> anyhow::Result<Desk> {
    let listener = listeners.api.as_ref().unwrap_or(&listeners.hooks);
    let url = config.public_url(listener.local_addr().context("the API listener")?);
    let outbound = OutboundClient::new(config.outbound_policy()?, config.outbound_options()).context("calls to providers")?;
    let outbound = outbound.governed(plane.governor.clone()).sharing(plane.answers.clone());
    let door = Door::new(OauthClient::new(outbound, config.oauth_limits()), config.consent_options());
    Ok(Desk::new(
        plane,
        executions,
        url,
        config.control_options(),
        config.sign_in_options(),
        door,
        mail,
    ))
}

/// Serves the API until `stop`.
pub(super) fn serve(
    config: &Config,
    base: &Base,
    plane: &Plane,
    desk: Arc<Desk>,
    control: &Runtime,
    stop: CancellationToken,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let provider = provider(config, control)?;
    let service = Control::new(desk, provider, config.console_options(), control.handle().clone());
    let Some(listener) = &base.listeners.api else {
        let limits = BesideLimits {
            max_body: config.api.max_body.as_usize(),
            body_memory: config.api.body_memory.as_usize(),
            requests: config.api.connections.as_usize(),
        };
        plane.front.serve_beside(Arc::new(service), limits);
        return Ok(None);
    };
    let listener = listener.try_clone().context("the API listener")?;
    let limits = Limits {
        connections: config.api.connections.as_usize(),
        max_body: config.api.max_body.as_usize(),
        body_memory: config.api.body_memory.as_usize(),
        read_timeout: config.api.read_timeout,
        drain: config.drain.deadline,
        accept_pause: config.front.accept_pause,
    };
    let options = DoorOptions {
        connections: limits.connections,
        connections_per_address: config.api.connections_per_address.as_usize(),
        handshake_timeout: config.tls.handshake_timeout,
        answer_timeout: config.api.answer_timeout,
        accept_pause: limits.accept_pause,
    };
    let _inside = control.enter();
    let doors = Doors::open(listener, base.tls.clone(), plane.proxies.clone(), options)?;
    Ok(Some(control.spawn(serve_http(doors, limits, Arc::new(service), stop))))
}

/// Who else says who somebody is.
fn provider(config: &Config, control: &Runtime) -> anyhow::Result<Option<Provider>> {
    if config.people.oidc.issuer.is_none() {
        return Ok(None);
    }
    // Its connections live where its calls are made.
    let _inside = control.enter();
    let client = OutboundClient::new(config.oidc_policy()?, config.oidc_outbound())?;
    Ok(Provider::open(&config.oidc_options(), client)?)
}
