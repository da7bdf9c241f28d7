//! Where tokens come from.

use std::future::Future;
use std::pin::Pin;

use tidewire_core::TokenError;

/// The future of a token.
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<String, TokenError>> + Send + 'a>>;

/// Hands out a token before each connect. Called once per attempt, never two at a time.
///
/// Implemented for texts that never change and for async closures:
/// `|| async { Ok(fetch().await?) }`. An error says whether trying again may help; a panic or an answer
/// that takes longer than 30 s counts as an error that may be retried.
pub trait TokenProvider: Send + Sync + 'static {
    /// The token to say `hello` with.
    fn token(&self) -> TokenFuture<'_>;
}

impl TokenProvider for String {
    fn token(&self) -> TokenFuture<'_> {
        Box::pin(std::future::ready(Ok(self.clone())))
    }
}

impl TokenProvider for &'static str {
    fn token(&self) -> TokenFuture<'_> {
        Box::pin(std::future::ready(Ok((*self).to_owned())))
    }
}

impl<F, Fut> TokenProvider for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, TokenError>> + Send + 'static,
{
    fn token(&self) -> TokenFuture<'_> {
        Box::pin(self())
    }
}
