//! What names a file of debug information, as parts of a path.

use std::fmt;
use std::str::FromStr;

use flamestore_model::{Error, Result, Tenant};

/// The most bytes of a build id: with two digits a byte it is still the name of a folder.
const BUILD_ID_BYTES_MAX: usize = 120;
/// What the name of a build id starts with that could not stand in a path as it is. It is no hexadecimal digit.
const ODD: char = 'x';

/// What a file tells of its build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DebuginfoKind {
    /// Symbols and lines.
    Debuginfo,
    /// The executable itself.
    Executable,
    /// An archive of its sources.
    Sources,
    /// A source map of JavaScript.
    SourceMap,
}

/// A build id as the name of a folder: itself if it is made of lowercase hexadecimal digits, else `x` and its bytes as such.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildName(String);

/// Which file of which build.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DebuginfoKey {
    /// Whose it is.
    pub tenant: Tenant,
    /// The build.
    pub build: BuildName,
    /// What the file tells of it.
    pub kind: DebuginfoKind,
}

impl DebuginfoKind {
    const NAMES: [(Self, &'static str); 4] = [
        (Self::Debuginfo, "debuginfo"),
        (Self::Executable, "executable"),
        (Self::Sources, "sources"),
        (Self::SourceMap, "sourcemap"),
    ];
}

impl fmt::Display for DebuginfoKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for DebuginfoKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::NAMES.iter().find(|(_, name)| *name == text);
        let wrong = || Error::invalid("there is no such kind of debug information").with("kind", format!("{text:?}"));
        known.map(|(kind, _)| *kind).ok_or_else(wrong)
    }
}

impl BuildName {
    /// The name of a build id.
    ///
    /// # Errors
    /// `Invalid` when it is empty or longer than 120 bytes.
    pub fn of(build_id: &str) -> Result<Self> {
        if build_id.is_empty() || build_id.len() > BUILD_ID_BYTES_MAX {
            let wrong = Error::invalid(format!("a build id has 1 to {BUILD_ID_BYTES_MAX} bytes"));
            return Err(wrong.with("bytes", build_id.len()));
        }
        if is_hex(build_id) {
            return Ok(Self(build_id.to_owned()));
        }
        let mut name = String::from(ODD);
        for byte in build_id.bytes() {
            name.push_str(&format!("{byte:02x}"));
        }
        Ok(Self(name))
    }

    /// The build id that has this name.
    fn build_id(&self) -> Option<String> {
        let Some(digits) = self.0.strip_prefix(ODD) else { return Some(self.0.clone()) };
        let pairs = digits.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        String::from_utf8(pairs.map(byte).collect::<Option<_>>()?).ok()
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for BuildName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BuildName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let read = Self(name.to_owned());
        match read.build_id().map(|build_id| Self::of(&build_id)) {
            Some(Ok(again)) if again == read => Ok(read),
            _ => Err(Error::invalid("it is not the name of a build id").with("name", format!("{name:?}"))),
        }
    }
}

impl DebuginfoKey {
    /// The file that tells `kind` of the build with this id.
    ///
    /// # Errors
    /// `Invalid` when no build has such an id.
    pub fn new(tenant: Tenant, build_id: &str, kind: DebuginfoKind) -> Result<Self> {
        Ok(Self { tenant, build: BuildName::of(build_id)?, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_id_is_a_folder_whatever_it_is() {
        let long = "a".repeat(BUILD_ID_BYTES_MAX);
        for (build_id, expected) in [
            ("dfbb0a1c", "dfbb0a1c"),
            ("0", "0"),
            (long.as_str(), long.as_str()),
            ("../../x", "x2e2e2f2e2e2f78"),
            ("DFBB", "x44464242"),
            ("x61", "x783631"),
            ("é\0", "xc3a900"),
            ("a/b", "x612f62"),
        ] {
            let name = BuildName::of(build_id).unwrap();
            assert_eq!(name.to_string(), expected);
            assert_eq!(name.build_id().as_deref(), Some(build_id));
            assert_eq!(expected.parse::<BuildName>().unwrap(), name);
        }
        for wrong in ["", &"a".repeat(BUILD_ID_BYTES_MAX + 1)] {
            assert!(BuildName::of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_folder_that_no_build_id_has_is_none_of_ours() {
        for wrong in ["", "..", "x", "x6", "x61", "xfg", "x2E2e", "xff", "DFBB", "x+1"] {
            assert!(wrong.parse::<BuildName>().is_err(), "{wrong}");
        }
    }
}
