//! The bearer token of the admin interface: made on the first start, kept private, compared in constant time.

use super::AdminState;
use super::problem::Problem;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::io;
use std::path::Path;

/// The token that requests must carry. Only its hash is kept in memory.
#[derive(Clone)]
pub struct AdminToken {
    hash: [u8; 32],
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, token).as_ref());
    sum
}

impl AdminToken {
    /// The token in this text.
    pub fn new(token: &str) -> Self {
        AdminToken { hash: hash(token.trim().as_bytes()) }
    }

    /// Reads the token from `path`, or makes a random one there that only the file's owner may read.
    ///
    /// # Errors
    /// The host's, or a file that holds no token.
    pub fn load_or_create(path: &Path) -> io::Result<Self> {
        if path.exists() {
            let token = std::fs::read_to_string(path)?;
            if token.trim().len() < 16 {
                let text = format!("{} holds no token; remove it to get a new one", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            return Ok(AdminToken::new(&token));
        }
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        crate::peers::write_private(path, format!("{token}\n").as_bytes())?;
        Ok(AdminToken::new(&token))
    }

    /// Hashes of equal length are compared, so neither content nor length shows in the time it takes.
    fn matches(&self, token: &str) -> bool {
        verify_slices_are_equal(&self.hash, &hash(token.as_bytes())).is_ok()
    }
}

/// Refuses requests without the token.
pub(super) async fn require_token(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer "));
    if token.is_some_and(|token| state.token.matches(token)) {
        return next.run(request).await;
    }
    let detail = "send `Authorization: Bearer TOKEN` with the content of <data_dir>/admin.token";
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    response
}
