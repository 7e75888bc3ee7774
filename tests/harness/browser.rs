//! A browser that needs no window: it keeps its cookie, fills in forms, and does not follow where it is sent.

use http::header;
use std::fmt::Write as _;

use super::within;

/// See the module.
#[derive(Debug)]
pub(crate) struct Browser {
    client: reqwest::Client,
    pub(crate) cookie: Option<String>,
}

/// What it shows.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) html: String,
    url: reqwest::Url,
}

impl Shown {
    /// Where the browser is sent.
    #[track_caller]
    pub(crate) fn location(&self) -> reqwest::Url {
        let location = self
            .headers
            .get(header::LOCATION)
            .unwrap_or_else(|| panic!("sent nowhere: {self:?}"));
        self.url.join(location.to_str().unwrap()).unwrap()
    }

    /// A parameter of where the browser is sent.
    #[track_caller]
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let location = self.location();
        let mut pairs = location.query_pairs().filter(|(key, _)| key == name);
        pairs.next().map(|(_, value)| value.into_owned())
    }

    /// Where the page's only link leads.
    #[track_caller]
    pub(crate) fn link(&self) -> reqwest::Url {
        let body = self.html.split("<main>").nth(1).unwrap();
        let links: Vec<&str> = body.split(" href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let [link] = links[..] else { panic!("one link: {}", self.html) };
        self.url.join(&decoded(link)).unwrap()
    }

    /// The fields of the form that goes to `action`, as the page fills them in.
    #[track_caller]
    pub(crate) fn form(&self, action: &str) -> Vec<(String, String)> {
        let start = format!("action=\"{action}\"");
        let form = self.html.split("<form").skip(1).find(|form| form.contains(&start));
        let form = form.unwrap_or_else(|| panic!("no form goes to {action}: {}", self.html));
        let form = form.split("</form>").next().unwrap();
        let inputs = form.split("<input").skip(1).map(|rest| rest.split('>').next().unwrap());
        inputs
            .map(|input| {
                let attribute = |name: &str| {
                    let rest = input.split(&format!(" {name}=\"")).nth(1)?;
                    Some(decoded(rest.split('"').next().unwrap()))
                };
                (attribute("name").unwrap(), attribute("value").unwrap_or_default())
            })
            .collect()
    }

    /// What a person reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for part in self.html.split('<').skip(1) {
            let words = part.split_once('>').map_or("", |(_, words)| words).trim();
            if !words.is_empty() {
                writeln!(text, "{}", decoded(words)).unwrap();
            }
        }
        text
    }
}

fn decoded(text: &str) -> String {
    let entities = [
        ("&quot;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#x27;", "'"),
        ("&#x2f;", "/"),
        ("&amp;", "&"),
    ];
    entities
        .iter()
        .fold(text.to_owned(), |text, (entity, letter)| text.replace(entity, letter))
}

impl Browser {
    /// One that believes these certificates, too.
    pub(crate) fn new(certificates: &[reqwest::Certificate]) -> Self {
        let builder = reqwest::Client::builder()
            // A test may do something else for longer than the daemon keeps a connection that is idle.
            .pool_max_idle_per_host(0)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        let builder = certificates
            .iter()
            .cloned()
            .fold(builder, reqwest::ClientBuilder::add_root_certificate);
        Self {
            client: builder.build().unwrap(),
            cookie: None,
        }
    }

    /// Opens an address.
    pub(crate) async fn open(&mut self, url: &str) -> Shown {
        let request = self.client.get(url);
        self.send(request).await
    }

    /// Opens the link of a connection, and says that an account is to be connected: where the browser is sent then.
    pub(crate) async fn agree(&mut self, link: &str) -> Shown {
        let question = self.open(link).await;
        assert_eq!(question.status, 200, "{}", question.html);
        self.submit(&question, "/oauth2/authorize", &[]).await
    }

    /// Sends the form of a page that goes to `action`, with these fields changed or added.
    #[track_caller]
    pub(crate) fn submit<'a>(
        &'a mut self,
        page: &'a Shown,
        action: &'a str,
        changes: &'a [(&'a str, &'a str)],
    ) -> impl Future<Output = Shown> + 'a {
        let mut fields = page.form(action);
        for (name, value) in changes {
            fields.retain(|(known, _)| known != name);
            fields.push(((*name).to_owned(), (*value).to_owned()));
        }
        let url = page.url.join(action).unwrap();
        async move { self.post(url.as_str(), &fields).await }
    }

    /// Sends fields of one's own.
    pub(crate) async fn post(&mut self, url: &str, fields: &[(String, String)]) -> Shown {
        let request = self.client.post(url).form(fields);
        let origin = reqwest::Url::parse(url).unwrap().origin().ascii_serialization();
        self.send(request.header(header::ORIGIN, origin).header("sec-fetch-site", "same-origin"))
            .await
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> Shown {
        let request = match &self.cookie {
            Some(cookie) => request.header(header::COOKIE, cookie),
            None => request,
        };
        let answer = within("an answer", request.send()).await.unwrap();
        let (status, headers, url) = (answer.status().as_u16(), answer.headers().clone(), answer.url().clone());
        if let Some(set) = headers.get(header::SET_COOKIE) {
            self.cookie = set.to_str().unwrap().split(';').next().map(str::to_owned);
        }
        let html = answer.text().await.unwrap();
        Shown {
            status,
            headers,
            html,
            url,
        }
    }
}
