//! From paths to pages.

use perseat_domain::id::{ExecutionId, InstanceId, VersionId};
use std::str::FromStr;
use url::form_urlencoded;

/// Where fragments of pages are, which need a bearer.
pub(super) const VIEW: &str = "/embedded/view/";
/// Where the style sheet and the scripts are.
pub(super) const ASSETS: &str = "/embedded/assets/";
/// Where the host page's program checks its token.
pub(crate) const AUTHENTICATE: &str = "/embedded/authenticate";
/// What the host page's program loads ahead.
pub(super) const PRELOAD: &str = "/embedded";

const MARKETPLACE: &str = "/integration-marketplace";
const FIND: &str = "/find-integration-marketplace";
const CONFIGURE: &str = "/configure-instance/";
/// Pages without parameters, with the fragments that they begin with.
const PLAIN: [(&str, View); 4] = [
    (MARKETPLACE, View::Marketplace),
    ("/logs", View::Logs),
    ("/dashboard", View::Dashboard),
    ("/customer-connections", View::Connections),
];

/// Whether the path is one of ours.
pub(super) fn takes(path: &str) -> bool {
    let whole = path.trim_end_matches('/');
    let is_page = [PRELOAD, AUTHENTICATE, FIND].contains(&whole) || path.starts_with(CONFIGURE);
    let is_page = is_page || PLAIN.iter().any(|(page, _)| *page == whole);
    is_page || path.starts_with(VIEW) || path.starts_with(ASSETS)
}

/// The fragment that a page of a frame begins with.
pub(super) fn start(path: &str, query: &str) -> Option<String> {
    let whole = path.trim_end_matches('/');
    let parameter = |name: &str| pair(query, name);
    if let Some((_, view)) = PLAIN.into_iter().find(|(page, _)| *page == whole) {
        return Some(view.path());
    }
    match whole {
        FIND => {
            let by = ["instanceId", "integrationId", "integrationName"];
            let (name, value) = by.iter().find_map(|name| Some((name, parameter(name)?)))?;
            let query = form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish();
            Some(format!("{VIEW}find?{query}"))
        }
        _ => {
            let id = decoded(whole.strip_prefix(CONFIGURE)?);
            let instance: InstanceId = id.parse().ok()?;
            let is_own = parameter("userLevelConfigured").is_some_and(|flag| flag == "true");
            Some(format!("{VIEW}instance/{instance}/{}", if is_own { "mine" } else { "configure" }))
        }
    }
}

/// A parameter of a query.
pub(super) fn pair(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn decoded(segment: &str) -> String {
    // A path has no `+` for a space, and ids have no `%`.
    segment.replace("%3D", "=").replace("%3d", "=")
}

/// A fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// What there is.
    Marketplace,
    /// An integration, an instance or a name to begin with.
    Find,
    /// One integration.
    Integration(VersionId),
    /// A new instance of it.
    Activate(VersionId),
    /// Customer-wide configuration.
    Configure(InstanceId),
    /// Taking an instance away.
    Remove(InstanceId),
    /// One's own configuration.
    Mine(InstanceId),
    /// Taking it away.
    RemoveMine(InstanceId),
    /// Giving a customer-wide connection up, which the query names.
    Disconnect(InstanceId),
    /// Giving one's own up.
    DisconnectMine(InstanceId),
    /// What executions said.
    Logs,
    /// What ran.
    Executions,
    /// One of them.
    Execution(ExecutionId),
    /// How instances and executions are.
    Dashboard,
    /// Where connections stand.
    Connections,
}

impl View {
    /// The fragment of a path.
    pub(super) fn of(path: &str) -> Option<Self> {
        fn id<I: FromStr>(text: &str) -> Option<I> {
            decoded(text).parse().ok()
        }
        let parts: Vec<&str> = path.strip_prefix(VIEW)?.split('/').collect();
        match parts[..] {
            ["marketplace"] => Some(Self::Marketplace),
            ["logs"] => Some(Self::Logs),
            ["executions"] => Some(Self::Executions),
            ["dashboard"] => Some(Self::Dashboard),
            ["connections"] => Some(Self::Connections),
            ["execution", execution] => id(execution).map(Self::Execution),
            ["find"] => Some(Self::Find),
            ["integration", integration] => id(integration).map(Self::Integration),
            ["integration", integration, "activate"] => id(integration).map(Self::Activate),
            ["instance", instance, "configure"] => id(instance).map(Self::Configure),
            ["instance", instance, "remove"] => id(instance).map(Self::Remove),
            ["instance", instance, "mine"] => id(instance).map(Self::Mine),
            ["instance", instance, "mine", "remove"] => id(instance).map(Self::RemoveMine),
            ["instance", instance, "disconnect"] => id(instance).map(Self::Disconnect),
            ["instance", instance, "mine", "disconnect"] => id(instance).map(Self::DisconnectMine),
            _ => None,
        }
    }

    /// The path of a fragment with a query; those that have no value are left out.
    pub(super) fn with(self, query: &[(&str, Option<&str>)]) -> String {
        let given = query.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
        match text.is_empty() {
            true => self.path(),
            false => format!("{}?{text}", self.path()),
        }
    }

    /// The path of a fragment.
    pub(super) fn path(self) -> String {
        match self {
            Self::Marketplace => format!("{VIEW}marketplace"),
            Self::Find => format!("{VIEW}find"),
            Self::Integration(id) => format!("{VIEW}integration/{}", id.global()),
            Self::Activate(id) => format!("{VIEW}integration/{}/activate", id.global()),
            Self::Configure(id) => format!("{VIEW}instance/{id}/configure"),
            Self::Remove(id) => format!("{VIEW}instance/{id}/remove"),
            Self::Mine(id) => format!("{VIEW}instance/{id}/mine"),
            Self::RemoveMine(id) => format!("{VIEW}instance/{id}/mine/remove"),
            Self::Disconnect(id) => format!("{VIEW}instance/{id}/disconnect"),
            Self::DisconnectMine(id) => format!("{VIEW}instance/{id}/mine/disconnect"),
            Self::Logs => format!("{VIEW}logs"),
            Self::Executions => format!("{VIEW}executions"),
            Self::Execution(id) => format!("{VIEW}execution/{id}"),
            Self::Dashboard => format!("{VIEW}dashboard"),
            Self::Connections => format!("{VIEW}connections"),
        }
    }

    /// Whether a form of it can be sent.
    pub(super) fn takes_forms(self) -> bool {
        matches!(
            self,
            Self::Activate(_)
                | Self::Configure(_)
                | Self::Remove(_)
                | Self::Mine(_)
                | Self::RemoveMine(_)
                | Self::Disconnect(_)
                | Self::DisconnectMine(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn every_fragment_is_found_by_its_own_path() {
        let (instance, integration) = (
            InstanceId(Uuid::from_u128(7)),
            VersionId {
                integration: perseat_domain::id::IntegrationId(Uuid::from_u128(9 << 16)),
                version: None,
            },
        );
        let all = [
            View::Marketplace,
            View::Find,
            View::Integration(integration),
            View::Activate(integration),
            View::Configure(instance),
            View::Remove(instance),
            View::Mine(instance),
            View::RemoveMine(instance),
            View::Disconnect(instance),
            View::DisconnectMine(instance),
            View::Logs,
            View::Executions,
            View::Execution(ExecutionId(Uuid::from_u128(5))),
            View::Dashboard,
            View::Connections,
        ];
        for view in all {
            assert_eq!(View::of(&view.path()), Some(view));
            assert!(takes(&view.path()));
        }
        for nothing in [
            "/embedded/view/",
            "/embedded/view/instance/x/mine",
            "/embedded/view/instance",
            "/embedded/view/../api",
        ] {
            assert_eq!(View::of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn pages_of_frames_begin_where_the_host_page_says() {
        let id = InstanceId(Uuid::from_u128(7));
        let begins = |path: &str, query: &str| start(path, query).unwrap_or_default();
        assert_eq!(begins("/integration-marketplace/", "embed=true"), "/embedded/view/marketplace");
        for (page, fragment) in [
            ("/logs/", "logs"),
            ("/dashboard/", "dashboard"),
            ("/customer-connections/", "connections"),
        ] {
            assert!(takes(page), "{page}");
            assert_eq!(begins(page, "embed=true&theme=DARK"), format!("/embedded/view/{fragment}"));
        }
        let page = format!("/configure-instance/{}/", id.global());
        assert_eq!(begins(&page, "reconfigure=true"), format!("/embedded/view/instance/{id}/configure"));
        let own = begins(&page.replace('=', "%3D"), "reconfigure=true&userLevelConfigured=true");
        assert_eq!(own, format!("/embedded/view/instance/{id}/mine"));
        let by_both = begins("/find-integration-marketplace/", "integrationName=A+B&instanceId=x%26y");
        assert_eq!(by_both, "/embedded/view/find?instanceId=x%26y", "the instance goes first");
        assert_eq!(start("/configure-instance/nonsense/", ""), None);
        assert_eq!(start("/find-integration-marketplace/", ""), None);
    }
}
