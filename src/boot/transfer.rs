//! Customers that move from one daemon to another: what the local socket's routes do, and the same on a directory at rest.

use std::sync::Arc;

use http::{Method, StatusCode};
use perseat_actors::kit::{Clock, RealClock};
use perseat_admin::edit;
use perseat_admin::fault::Fault;
use perseat_admin::transfer::{Envelope, Import, Imported, export, import};
use perseat_flow::definition::Limits;
use perseat_store::catalog::Change;
use perseat_store::custody::Custody;
use perseat_store::seal::DataKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;
use zeroize::Zeroizing;

use super::administration::{blocking, refusal};
use super::local::{LocalAnswer, LocalRequest, Router};
use super::plane::{Plane, Published, Publisher, random};
use super::tokens::local;

/// A key in 64 hexadecimal digits, wiped when it goes.
#[derive(Clone)]
pub(crate) struct KeyDigits(pub(crate) Zeroizing<String>);

impl Serialize for KeyDigits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyDigits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|digits| Self(Zeroizing::new(digits)))
    }
}

/// The body of `POST /customers/export`. The key travels over the local socket only.
#[derive(Serialize, Deserialize)]
pub(crate) struct ExportBody {
    /// The customer's id, external id or name.
    pub(crate) customer: String,
    /// What the file is sealed by.
    pub(crate) key: KeyDigits,
}

/// The body of `POST /customers/import`.
#[derive(Serialize, Deserialize)]
pub(crate) struct ImportBody {
    /// The file.
    pub(crate) envelope: Envelope,
    /// What the file is sealed by.
    pub(crate) key: KeyDigits,
    /// Whether instances arrive switched on.
    pub(crate) switched_on: bool,
}

/// What the routes work on.
#[derive(Clone)]
pub(super) struct Transfers {
    custody: Custody,
    publisher: Arc<Publisher>,
    clock: Arc<dyn Clock>,
}

impl Transfers {
    pub(super) fn of(plane: &Plane) -> Self {
        Self {
            custody: plane.custody.clone(),
            publisher: plane.publisher.clone(),
            clock: plane.clock.clone(),
        }
    }

    /// Adds the routes.
    pub(super) fn routes(&self, router: Router) -> Router {
        let (on_export, on_import) = (self.clone(), self.clone());
        router
            .route(Method::POST, "/customers/export", move |request: LocalRequest| {
                let this = on_export.clone();
                async move { blocking(move || answered(this.export(&request))).await }
            })
            .route(Method::POST, "/customers/import", move |request: LocalRequest| {
                let this = on_import.clone();
                async move { blocking(move || answered(this.import(&request))).await }
            })
    }

    fn export(&self, request: &LocalRequest) -> Result<Envelope, Fault> {
        let body: ExportBody = serde_json::from_slice(&request.body).map_err(|error| Fault::wrong(error.to_string()))?;
        export_here(&self.custody, &body, &*self.clock)
    }

    fn import(&self, request: &LocalRequest) -> Result<Imported, Fault> {
        let body: ImportBody = serde_json::from_slice(&request.body).map_err(|error| Fault::wrong(error.to_string()))?;
        self.publisher.publish(|| {
            let changed = changed(&self.custody, &body, &*self.clock)?;
            let published = Published {
                effects: changed.effects,
                revision: changed.revision,
            };
            Ok((changed.value, published))
        })
    }
}

fn answered(outcome: Result<impl Serialize, Fault>) -> LocalAnswer {
    match outcome {
        Ok(value) => (StatusCode::OK, json!(value)),
        Err(Fault::Store(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a customer could not be moved");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", &error.to_string())
        }
        Err(fault) => {
            let code = fault.code().unwrap_or("request_refused");
            refusal(StatusCode::UNPROCESSABLE_ENTITY, code, &fault.to_string())
        }
    }
}

/// Exports, in this process.
pub(crate) fn export_here(custody: &Custody, body: &ExportBody, clock: &dyn Clock) -> Result<Envelope, Fault> {
    let by = local().who.to_string();
    let change = Change {
        by: &by,
        at: clock.now(),
        action: "exportCustomer",
    };
    export(custody, &body.customer, &data_key(&body.key)?, change)
}

/// Imports, in this process, where there is nobody to tell.
pub(crate) fn import_here(custody: &Custody, body: &ImportBody) -> Result<Imported, Fault> {
    Ok(changed(custody, body, &RealClock::new())?.value)
}

fn changed(custody: &Custody, body: &ImportBody, clock: &dyn Clock) -> Result<edit::Changed<Imported>, Fault> {
    let mut random = random;
    let mut desk = edit::Desk {
        custody,
        // Nothing is read anew: versions are here already.
        definitions: edit::Definitions::built_in(Limits::default()),
        actor: &local(),
        at: clock.now(),
        random: &mut random,
    };
    let options = Import {
        switched_on: body.switched_on,
    };
    import(&mut desk, &body.envelope, &data_key(&body.key)?, options)
}

fn data_key(digits: &KeyDigits) -> Result<DataKey, Fault> {
    let bytes = super::master_key::decode(digits.0.as_bytes());
    let bytes = bytes.ok_or_else(|| Fault::wrong("the key must be 64 hexadecimal digits"))?;
    Ok(DataKey::new(&bytes, 0))
}
