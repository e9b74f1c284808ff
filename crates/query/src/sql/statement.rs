//! What a statement may look like before it is planned.
//!
//! Plans of deep expressions are walked and dropped by recursion, which a chain of operators makes as deep as it is long: so
//! the words that nest are counted first, and planning runs on a stack that has room for as many. Values, parameters and the
//! commas between them are not counted: a list may be long.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use flamestore_model::{Error, Result};

/// Bytes of a statement.
pub(super) const BYTES_MAX: usize = 256 << 10;

/// Operators, brackets and keywords of a statement.
pub(super) const NESTING_MAX: usize = 500;

/// The stack that planning a deep statement has, in bytes; touched only as far as it is needed.
const STACK_BYTES: usize = 32 << 20;

/// What a word that nests takes of the stack at most, in bytes.
const NESTING_BYTES: usize = if cfg!(debug_assertions) { 64 << 10 } else { 16 << 10 };

/// Runs the planning of a statement of so many words that nest, each poll with the room on the stack that it needs.
pub(super) async fn on_deep_stack<F: Future>(nesting: usize, planning: F) -> F::Output {
    let room = (nesting + 32) * NESTING_BYTES;
    let mut planning = Box::pin(planning);
    std::future::poll_fn(move |context| {
        stacker::maybe_grow(room, STACK_BYTES.max(2 * room), || planning.as_mut().poll(context))
    })
    .await
}

/// Whether `statement` is short enough to be planned.
///
/// # Errors
/// `Exhausted` when it is too long; `Invalid` when it has no words.
pub fn check(statement: &str) -> Result<()> {
    nesting(statement).map(drop)
}

/// How many words of `statement` nest; [`NESTING_MAX`] where it cannot be read as words, which the parser tells.
///
/// # Errors
/// As [`check`].
pub(super) fn nesting(statement: &str) -> Result<usize> {
    if statement.len() > BYTES_MAX {
        let error = Error::exhausted("the statement is too long");
        return Err(error.with("limit_bytes", BYTES_MAX).with("bytes", statement.len()));
    }
    let Ok(words) = Tokenizer::new(&GenericDialect {}, statement).tokenize() else { return Ok(NESTING_MAX) };
    if words.iter().all(|token| matches!(token, Token::Whitespace(_) | Token::SemiColon)) {
        return Err(Error::invalid("the statement is empty"));
    }
    match nesting_of(&words) {
        nesting @ 0..=NESTING_MAX => Ok(nesting),
        nesting => {
            let error = Error::exhausted("the statement has too many operators, brackets and keywords");
            Err(error.with("limit", NESTING_MAX).with("found", nesting))
        }
    }
}

fn nesting_of(words: &[Token]) -> usize {
    let nests = |token: &&Token| match token {
        Token::Word(word) => {
            word.quote_style.is_none() && word.keyword != datafusion::sql::sqlparser::keywords::Keyword::NoKeyword
        }
        Token::Whitespace(_)
        | Token::Comma
        | Token::Placeholder(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::HexStringLiteral(_)
        | Token::Period
        | Token::EOF => false,
        _ => true,
    };
    words.iter().filter(nests).count()
}

#[cfg(test)]
mod tests {
    use flamestore_model::ErrorKind;

    use super::*;

    fn check_kind(statement: &str, expected: Option<ErrorKind>) {
        assert_eq!(check(statement).err().map(|error| error.kind()), expected);
    }

    #[test]
    fn lists_may_be_long_but_not_deep() {
        let list = vec!["'a'"; 20_000].join(", ");
        check_kind(&format!("SELECT * FROM series WHERE service_name IN ({list})"), None);
        let list: Vec<String> = (1..=20_000).map(|number| format!("${number}")).collect();
        check_kind(&format!("SELECT * FROM series WHERE service_name IN ({})", list.join(", ")), None);
        check_kind(&format!("SELECT {}", vec!["1"; 400].join("+")), None);
        check_kind(&format!("SELECT {}", vec!["1"; 10_000].join("+")), Some(ErrorKind::Exhausted));
        check_kind(&format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000)), Some(ErrorKind::Exhausted));
        check_kind(&format!("SELECT '{}'", "a".repeat(BYTES_MAX)), Some(ErrorKind::Exhausted));
    }

    #[test]
    fn an_empty_statement_is_refused() {
        check_kind("  ;\n-- nothing\n", Some(ErrorKind::Invalid));
    }
}
