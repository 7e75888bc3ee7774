//! The embedded pages: what the embedded SDK shows in frames of the host product.
//!
//! A frame begins with a shell that is the same for everybody. It gets the host product's token by a message from the page
//! around it, keeps it in memory alone, and asks for fragments with it as their bearer. There are no cookies, so nothing of a
//! browser's is spent by another site's page, and a frame whose token has ended shows nothing more. Fragments come from the
//! queries and commands of `perseat-admin`, which decide what somebody sees and does.

mod choice;
mod chosen;
mod connection;
mod connections;
mod dashboard;
mod disconnect;
mod draft;
mod event;
mod executions;
mod field;
mod filter;
mod form;
mod html;
mod logs;
mod marketplace;
mod offered;
mod options;
mod page;
mod remove;
mod route;
mod source;
mod trouble;
mod wizard;

pub use options::ConsoleOptions;
pub(crate) use route::AUTHENTICATE;
pub use source::SourceOptions;

use crate::boot::http::{Answer, json, text};
use crate::control::{Budget, Desk};
use form::Sent;
use http::{Method, StatusCode};
use page::Pages;
use perseat_admin::actor::Actor;
use perseat_admin::fault::Fault;
use perseat_admin::query::{PageRequest, Reader};
use perseat_store::catalog::Allowance as _;
use route::View;
use source::Asking;
use std::fmt;
use std::sync::Arc;
use tokio::runtime::Handle;
use trouble::Trouble;

/// See the module.
#[derive(Debug)]
pub(crate) struct Console {
    desk: Arc<Desk>,
    options: ConsoleOptions,
    pages: Pages,
    asking: Asking,
}

/// Lets others go on while a page waits for somebody outside.
#[derive(Clone, Copy)]
pub(crate) struct Aside<'a>(pub(crate) &'a dyn Fn(&mut dyn FnMut()));

impl fmt::Debug for Aside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aside")
    }
}

/// A request for a fragment, by somebody who was recognised.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    actor: &'a Actor,
    query: &'a str,
    /// What may be read; what a form needs is read whatever there is.
    budget: Option<&'a Budget>,
    aside: Aside<'a>,
}

impl Asked<'_> {
    fn parameter(self, name: &str) -> Option<String> {
        route::pair(self.query, name).filter(|text| !text.is_empty())
    }

    /// Counts what is read elsewhere than in the catalog.
    fn spend(self, records: usize) -> Result<(), Fault> {
        self.budget.map_or(Ok(()), |budget| budget.take(records)).map_err(Fault::Spent)
    }
}

impl Console {
    pub(crate) fn new(desk: Arc<Desk>, options: ConsoleOptions, runtime: Handle) -> Self {
        Self {
            asking: Asking::new(desk.sources().clone(), options.sources.clone(), runtime),
            pages: Pages::new(&options.origins),
            desk,
            options,
        }
    }

    /// Whether this path is one of ours.
    pub(crate) fn takes(path: &str) -> bool {
        route::takes(path)
    }

    /// Origins of the host product's pages: they may call what the SDK calls.
    pub(crate) fn origins(&self) -> &[String] {
        &self.options.origins
    }

    /// Answers what needs no bearer: shells, style and scripts, and questions ahead of a call. `None`: it needs one.
    pub(crate) fn open(&self, method: &Method, path: &str, query: &str) -> Option<Answer> {
        if path == route::AUTHENTICATE {
            return (method == Method::OPTIONS).then(|| text(StatusCode::NO_CONTENT, "text/plain", ""));
        }
        if path.starts_with(route::VIEW) {
            return None;
        }
        if method != Method::GET {
            return Some(refusal(StatusCode::METHOD_NOT_ALLOWED, "Use GET."));
        }
        if path.starts_with(route::ASSETS) {
            return Some(Pages::asset(path).unwrap_or_else(|| refusal(StatusCode::NOT_FOUND, "There is nothing here.")));
        }
        let theme = match route::pair(query, "theme").as_deref() {
            Some("DARK") => "dark",
            _ => "light",
        };
        let start = route::start(path, query);
        let is_preload = path.trim_end_matches('/') == route::PRELOAD;
        Some(match start {
            None if !is_preload => refusal(StatusCode::NOT_FOUND, "There is nothing here."),
            start => self.pages.shell(start.as_deref(), theme),
        })
    }

    /// Answers whoever was recognised by a bearer. Blocks on the disk.
    pub(crate) fn answer(&self, actor: &Actor, aside: Aside<'_>, method: &Method, path: &str, query: &str, body: &[u8]) -> Answer {
        if !actor.role.is_embedded() || actor.user().is_none() {
            return self.explain(&Trouble::NotEmbedded);
        }
        if path == route::AUTHENTICATE {
            return match *method {
                Method::POST => json(StatusCode::OK, &serde_json::json!({})),
                _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "Use POST."),
            };
        }
        let budget = Budget::of(&self.desk);
        let asked = Asked {
            actor,
            query,
            budget: (*method == Method::GET).then_some(&budget),
            aside,
        };
        let outcome = match (View::of(path), method) {
            (Some(view), &Method::GET) => self.show(asked, view),
            (Some(view), &Method::POST) if view.takes_forms() => match Sent::read(body, self.options.fields) {
                Some(sent) => self.take(asked, view, &sent),
                None => return refusal(StatusCode::PAYLOAD_TOO_LARGE, "The form has too many fields."),
            },
            (Some(_), _) => return refusal(StatusCode::METHOD_NOT_ALLOWED, "Not by this method."),
            (None, _) => Err(Trouble::Nowhere),
        };
        outcome.unwrap_or_else(|trouble| self.explain(&trouble))
    }

    /// Reads one moment of the catalog for whoever asks, within what a request may read.
    fn read<T>(&self, asked: Asked<'_>, work: impl FnOnce(&Reader<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        match asked.budget {
            Some(budget) => self.desk.read_within(asked.actor, budget, work),
            None => self.desk.read(asked.actor, work),
        }
    }

    /// The same where more than the catalog is read.
    fn look<T>(&self, asked: Asked<'_>, work: impl FnOnce(&Reader<'_>) -> Result<T, Trouble>) -> Result<T, Trouble> {
        self.read(asked, |reader| Ok(work(reader)))?
    }

    /// The page of a list that somebody asks for.
    fn page(&self, asked: Asked<'_>) -> PageRequest {
        PageRequest {
            after: asked.parameter("after"),
            first: Some(self.options.page),
        }
    }

    fn show(&self, asked: Asked<'_>, view: View) -> Result<Answer, Trouble> {
        match view {
            View::Marketplace => self.marketplace(asked),
            View::Find => self.find(asked),
            View::Integration(id) => self.integration(asked, id),
            View::Activate(id) => self.activate(asked, id),
            View::Configure(id) => self.configure(asked, id),
            View::Mine(id) => self.mine(asked, id),
            View::Remove(id) => self.ask_to_remove(asked, id),
            View::RemoveMine(id) => self.ask_to_remove_mine(asked, id),
            View::Disconnect(_) | View::DisconnectMine(_) => self.ask_to_disconnect(asked, view),
            View::Logs => self.logs(asked),
            View::Executions => self.executions(asked),
            View::Execution(id) => self.execution(asked, id),
            View::Dashboard => self.dashboard(asked),
            View::Connections => self.connections(asked, None),
        }
    }

    fn take(&self, asked: Asked<'_>, view: View, sent: &Sent) -> Result<Answer, Trouble> {
        match view {
            View::Marketplace
            | View::Find
            | View::Integration(_)
            | View::Logs
            | View::Executions
            | View::Execution(_)
            | View::Dashboard
            | View::Connections => Err(Trouble::Nowhere),
            View::Activate(id) => self.save_new(asked, id, sent),
            View::Configure(id) => self.save_instance(asked, id, sent),
            View::Mine(id) => self.save_mine(asked, id, sent),
            View::Remove(id) => self.remove(asked, id),
            View::RemoveMine(id) => self.remove_mine(asked, id),
            View::Disconnect(_) | View::DisconnectMine(_) => self.disconnect(asked, view),
        }
    }
}

/// Why nothing is shown, in plain words: the SDK puts them into the error that its caller gets.
pub(crate) fn refusal(status: StatusCode, sentence: &'static str) -> Answer {
    text(status, "text/plain; charset=utf-8", sentence)
}
