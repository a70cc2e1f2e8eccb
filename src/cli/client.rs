//! The command line as a client of the API. Never decides what a person meant; never prints a token.
//! Read `requests.rs` next.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit::{CliError, Exit};
use crate::api::browser::CODE_HEADER;
use crate::api::problem::ProblemDocument;
use crate::api::trail::PRUNED_HEADER;
use crate::render::visible_line;

const URL_DEFAULT: &str = "http://127.0.0.1:6480";
/// Longer than the longest wait that the API grants for one long poll.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// Three heartbeats of the event stream.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(45);

/// A signed-in client.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
    /// A one-time code for what needs a second factor.
    code: Option<String>,
}

impl Client {
    /// Whether the environment names an API to work on.
    pub fn is_configured() -> bool {
        variable("COUNTERSIGN_API_URL").is_some()
    }

    /// By COUNTERSIGN_API_URL, COUNTERSIGN_TOKEN or COUNTERSIGN_TOKEN_FILE, COUNTERSIGN_API_CA_FILE.
    pub fn from_environment() -> Result<Self, CliError> {
        let base = variable("COUNTERSIGN_API_URL").unwrap_or_else(|| URL_DEFAULT.to_owned());
        let token = match (variable("COUNTERSIGN_TOKEN"), variable("COUNTERSIGN_TOKEN_FILE")) {
            (Some(token), _) => token,
            (None, Some(file)) => read_file(&file)?.trim().to_owned(),
            (None, None) => {
                return Err(CliError::new(
                    Exit::NotSignedIn,
                    "no token",
                    "set COUNTERSIGN_TOKEN; an administrator makes one with `countersign user token NAME`",
                ));
            }
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10));
        if let Some(file) = variable("COUNTERSIGN_API_CA_FILE") {
            let certificates = reqwest::Certificate::from_pem_bundle(read_file(&file)?.as_bytes())
                .map_err(|error| CliError::error(format!("`{file}`: {error}"), "name a PEM file"))?;
            builder = builder.tls_certs_only(certificates);
        }
        let http = builder
            .build()
            .map_err(|error| CliError::error(error, "check the certificates of this machine"))?;
        Ok(Self {
            http,
            // People paste it with the path, too.
            base: base.trim_end_matches('/').trim_end_matches("/api/v1").to_owned(),
            token,
            code: None,
        })
    }

    /// Sends a one-time code along: it makes one call surer, and counts once.
    #[must_use]
    pub fn with_code(self, code: Option<String>) -> Self {
        Self { code, ..self }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/api/v1{path}", self.base);
        let request = self.http.request(method, url).bearer_auth(&self.token);
        match &self.code {
            Some(code) => request.header(CODE_HEADER, code),
            None => request,
        }
    }

    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, CliError> {
        let request = self
            .request(Method::GET, path)
            .query(query)
            .timeout(ANSWER_TIMEOUT);
        self.read(self.send(request).await?).await
    }

    /// An answer that is text, such as a proof.
    pub async fn get_text(&self, path: &str) -> Result<String, CliError> {
        let request = self.request(Method::GET, path).timeout(ANSWER_TIMEOUT);
        let text = self.send(request).await?.text().await;
        text.map_err(|error| self.unreachable(&cause(&error)))
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CliError> {
        let request = self
            .request(Method::POST, path)
            .json(body)
            .timeout(ANSWER_TIMEOUT);
        self.read(self.send(request).await?).await
    }

    /// As `post`, with a key by which the server knows a repetition.
    pub async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        key: &str,
    ) -> Result<T, CliError> {
        let request = self
            .request(Method::POST, path)
            .json(body)
            .timeout(ANSWER_TIMEOUT);
        self.read(self.send(request.header("idempotency-key", key)).await?)
            .await
    }

    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CliError> {
        let request = self
            .request(Method::PATCH, path)
            .json(body)
            .timeout(ANSWER_TIMEOUT);
        self.read(self.send(request).await?).await
    }

    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        let request = self.request(Method::DELETE, path).timeout(ANSWER_TIMEOUT);
        self.read(self.send(request).await?).await
    }

    pub async fn delete_with<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CliError> {
        let request = self
            .request(Method::DELETE, path)
            .json(body)
            .timeout(ANSWER_TIMEOUT);
        self.read(self.send(request).await?).await
    }

    /// Reads server-sent events until the stream ends, and gives the data of each to `on_event`.
    /// `last_id` is where to go on, and where it ended.
    pub async fn events(
        &self,
        path: &str,
        query: &[(&str, String)],
        last_id: &mut Option<String>,
        mut on_event: impl AsyncFnMut(&str) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut request = self
            .request(Method::GET, path)
            .query(query)
            .header("accept", "text/event-stream");
        if let Some(id) = &last_id {
            request = request.header("last-event-id", id);
        }
        let response = self.send(request).await?;
        let pruned = response.headers().get(PRUNED_HEADER);
        if let Some(told) = pruned.and_then(|told| told.to_str().ok()) {
            eprintln!("{}", visible_line(told));
        }
        let mut chunks = response.bytes_stream();
        let mut rest: Vec<u8> = Vec::new();
        let mut data = String::new();
        loop {
            let chunk = tokio::time::timeout(SILENCE_TIMEOUT, chunks.next())
                .await
                .map_err(|_| self.unreachable(&"the stream of events has gone silent"))?;
            let Some(chunk) = chunk else { return Ok(()) };
            rest.extend_from_slice(&chunk.map_err(|error| self.unreachable(&cause(&error)))?);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let line = std::str::from_utf8(&line)
                    .unwrap_or_default()
                    .trim_end_matches(['\n', '\r']);
                match line
                    .split_once(':')
                    .map(|(field, value)| (field, value.strip_prefix(' ').unwrap_or(value)))
                {
                    Some(("id", value)) => *last_id = Some(value.to_owned()),
                    Some(("data", value)) => data.push_str(value),
                    None if line.is_empty() && !data.is_empty() => {
                        on_event(&std::mem::take(&mut data)).await?
                    }
                    Some(_) | None => {}
                }
            }
        }
    }

    /// Gives a body of any length to `on_chunk` as it comes.
    pub async fn download(
        &self,
        path: &str,
        query: &[(&str, String)],
        mut on_chunk: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let request = self.request(Method::GET, path).query(query);
        let mut chunks = self.send(request).await?.bytes_stream();
        loop {
            let chunk = tokio::time::timeout(ANSWER_TIMEOUT, chunks.next())
                .await
                .map_err(|_| self.unreachable(&"the answer has stopped coming"))?;
            let Some(chunk) = chunk else { return Ok(()) };
            on_chunk(&chunk.map_err(|error| self.unreachable(&cause(&error)))?)?;
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&cause(&error)))?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(refusal(response).await)
        }
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, CliError> {
        response
            .json()
            .await
            .map_err(|error| CliError::error(cause(&error), "use a client and a server of one version"))
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> CliError {
        tracing::debug!(%error, "the API does not answer");
        CliError::error(
            format!("the API at {} does not answer: {error}", self.base),
            "start `countersign serve`, or set COUNTERSIGN_API_URL",
        )
    }
}

/// What the server said no with.
async fn refusal(response: Response) -> CliError {
    let status = response.status();
    let Ok(problem) = response.json::<ProblemDocument>().await else {
        return CliError::error(format!("the API answered {status}"), "check COUNTERSIGN_API_URL");
    };
    let exit = match status {
        StatusCode::UNAUTHORIZED => Exit::NotSignedIn,
        StatusCode::FORBIDDEN => Exit::NotPermitted,
        StatusCode::CONFLICT => Exit::AlreadyDecided,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Exit::Usage,
        _ => Exit::Error,
    };
    CliError::new(exit, problem.detail, problem.next_step)
}

/// The innermost cause: reqwest's own words name only the URL.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn read_file(file: &str) -> Result<String, CliError> {
    std::fs::read_to_string(file).map_err(|error| {
        CliError::error(
            format!("cannot read `{file}`: {error}"),
            "check its name and mode",
        )
    })
}
