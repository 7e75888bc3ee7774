//! Builds the view of an execution from its entries, in their order.

use super::mask;
use super::opener::{Opener, decoded, part};
use super::secrets::Finder;
use super::view::{BodyView, ExecutionSummary, ExecutionView, Part, ResponseView, StepView, TriggerView, Unreadable};
use crate::seal::RecordKind;
use perseat_domain::entry::{Ended, Entry, LogLine, StepRecord, StepsDone, SyncResponse, TriggerRequest};
use perseat_domain::model::Sealed;

/// How much is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    /// Bytes of a body, and of a result.
    pub(super) body: usize,
    /// Bytes of all results together.
    pub(super) results: usize,
}

/// See the module.
pub(super) struct Composer {
    opener: Opener,
    shown: Shown,
    request: Option<Sealed>,
    ended: Option<Ended>,
    /// How many entries came.
    entries: u32,
    view: ExecutionView,
}

impl Composer {
    pub(super) fn new(summary: ExecutionSummary, opener: Opener, shown: Shown) -> Self {
        Self {
            opener,
            shown,
            request: None,
            ended: None,
            entries: 0,
            view: ExecutionView {
                summary,
                trigger: Part::Unreadable {
                    unreadable: Unreadable::Expired,
                },
                steps: Vec::new(),
                branches: Vec::new(),
                message: None,
                logs: Vec::new(),
                response: None,
                cost: None,
                missing: Vec::new(),
            },
        }
    }

    /// The next so many entries cannot be read. Any but the first may be results.
    pub(super) fn misses(&mut self, entries: u32, reason: Unreadable) {
        if self.entries > 0 || entries > 1 {
            self.opener.secrets.lacks(reason);
        }
        self.entries += entries;
        self.view.missing.push(reason);
    }

    pub(super) fn take_in(&mut self, payload: &[u8]) {
        let Ok(entry) = Entry::decode(payload) else {
            return self.misses(1, Unreadable::Damaged);
        };
        self.entries += 1;
        match entry {
            Entry::Accepted(accepted) => self.request = Some(accepted.request),
            Entry::StepsDone(done) => self.steps(done),
            Entry::Ended(ended) => self.ended = Some(ended),
            Entry::Started(_) | Entry::Parked(_) | Entry::Called(_) | Entry::Cancelled(_) | Entry::Carried(_) => {}
        }
    }

    fn steps(&mut self, done: StepsDone) {
        for step in done.steps {
            let output = part(self.output(&step));
            self.view.steps.push(StepView {
                name: step.name,
                path: step.path,
                attempt: done.attempt,
                status: step.status,
                started_at: step.started_at,
                ended_at: step.ended_at,
                output,
                credentials: step.credentials,
                tries: step.tries,
            });
        }
        self.view.branches.extend(done.branches);
        if let Some(logs) = &done.logs {
            let opened = self.opener.open(RecordKind::Logs, &[], logs);
            let lines = opened.and_then(|plain| decoded::<Vec<LogLine>>(&plain));
            self.view.logs.push(part(lines));
        }
    }

    fn output(&mut self, step: &StepRecord) -> Result<serde_json::Value, Unreadable> {
        let most = self.shown.body.min(self.shown.results);
        if most == 0 {
            self.opener.learn(step);
            return Ok("…".into());
        }
        let opened = self.opener.output(step);
        self.opener.keep(&opened, step);
        let plain = opened?;
        self.shown.results -= most.min(plain.len());
        Ok(mask::json(&plain, &step.masks, most))
    }

    pub(super) fn finish(mut self) -> ExecutionView {
        if let Some(request) = self.request.take() {
            self.view.trigger = part(self.trigger(&request));
        } else if let Some(reason) = self.view.missing.first() {
            self.view.trigger = Part::Unreadable { unreadable: *reason };
        }
        if let Some(ended) = self.ended.take() {
            self.view.cost = Some(ended.cost);
            self.view.message = ended.message.map(|sealed| part(self.opener.message(&sealed)));
            self.view.response = ended.response.map(|sealed| part(self.response(&sealed)));
        }
        self.view
    }

    fn trigger(&self, sealed: &Sealed) -> Result<TriggerView, Unreadable> {
        let request: TriggerRequest = decoded(&self.opener.open(RecordKind::Request, &[], sealed)?)?;
        let url = request
            .invoke_url
            .split_once('?')
            .map_or(request.invoke_url.as_str(), |(url, _)| url);
        let secrets = self.opener.secrets.complete()?;
        Ok(TriggerView {
            url: secrets.blanked(url),
            query: secrets.blanked(&mask::query(&request.query)),
            headers: blank_headers(&secrets, request.headers),
            body: self.body(&secrets, &request.body),
            method: request.method,
            path_fragment: secrets.blanked(&request.path_fragment),
        })
    }

    fn response(&self, sealed: &Sealed) -> Result<ResponseView, Unreadable> {
        let response: SyncResponse = decoded(&self.opener.open(RecordKind::Response, &[], sealed)?)?;
        let secrets = self.opener.secrets.complete()?;
        Ok(ResponseView {
            status: response.status,
            content_type: secrets.blanked(&response.content_type),
            headers: blank_headers(&secrets, response.headers),
            body: self.body(&secrets, &response.body),
        })
    }

    fn body(&self, secrets: &Finder, body: &[u8]) -> BodyView {
        let (shown, is_cut) = secrets.shown(body, self.shown.body);
        let text = match std::str::from_utf8(&shown) {
            Ok(text) => Some(text.to_owned()),
            Err(error) if error.error_len().is_none() => Some(String::from_utf8_lossy(&shown[..error.valid_up_to()]).into_owned()),
            Err(_) => None,
        };
        BodyView {
            bytes: body.len(),
            text,
            is_cut,
        }
    }
}

fn blank_headers(secrets: &Finder, headers: Vec<(String, String)>) -> Vec<(String, String)> {
    let blank = |(name, value): (String, String)| {
        if mask::names_credential(&name) {
            (name, mask::BLANK.to_owned())
        } else {
            (name, secrets.blanked(&value))
        }
    };
    headers.into_iter().map(blank).collect()
}
