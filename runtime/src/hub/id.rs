//! The id of a model: `owner/name`, optionally with a revision or a file, or a local path.
//!
//! The invariant: every part of an id is safe in a path and in a URL. Text that starts with `/`, `./`, `../` or `~/` is
//! a local path; everything else is a name on the hub.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A model, by name or path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModelId {
    /// A model of the hub, or of its cache.
    Hub {
        /// `owner/name`, or `name` alone for the few models without an owner.
        repository: String,
        /// A branch, a tag or a commit; by default `main`.
        revision: String,
        /// Its files.
        part: Part,
    },
    /// A local folder or file.
    Local(PathBuf),
}

/// The part of a repository to use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The safetensors weights and the files that belong to them.
    All,
    /// One GGUF file, by path.
    File(String),
    /// The only GGUF file of a quantisation, such as `Q4_0`.
    Quantization(String),
}

/// Why a text is not a model id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelIdError {
    /// It is empty or too long.
    #[error("a model's name has 1 to {ID_BYTES_MAX} bytes")]
    Length,
    /// It is not a valid repository name.
    #[error(
        "{0:?} is no name of a model; it looks like owner/name, owner/name@revision, owner/name/file.gguf, owner/name:Q4_0 or ./a/folder"
    )]
    Malformed(String),
}

impl ModelId {
    /// Returns the id of a repository's safetensors weights on its main branch.
    ///
    /// # Errors
    /// [`ModelIdError`] if this is not a valid repository name.
    pub fn repository(name: &str) -> Result<Self, ModelIdError> {
        let malformed = || ModelIdError::Malformed(name.to_owned());
        let mut pieces = name.split('/');
        let sound = pieces.clone().count() <= 2 && pieces.all(is_repository_piece) && !name.contains("--");
        let repository = sound.then(|| name.to_owned()).ok_or_else(malformed)?;
        Ok(Self::Hub { repository, revision: MAIN.to_owned(), part: Part::All })
    }
}

impl FromStr for ModelId {
    type Err = ModelIdError;

    fn from_str(text: &str) -> Result<Self, ModelIdError> {
        if text.is_empty() || text.len() > ID_BYTES_MAX {
            return Err(ModelIdError::Length);
        }
        let malformed = || ModelIdError::Malformed(text.to_owned());
        if text.chars().any(char::is_control) {
            return Err(malformed());
        }
        if let Some(path) = local(text) {
            return Ok(Self::Local(path));
        }
        let (text_without, quantization) = match text.rsplit_once(':') {
            Some((rest, tag)) if is_repository_piece(tag) => (rest, Some(tag)),
            Some(_) => return Err(malformed()),
            None => (text, None),
        };
        let (name, given) = match text_without.split_once('@') {
            Some((name, revision)) if is_relative_path(revision) => (name, Some(revision)),
            Some(_) => return Err(malformed()),
            None => (text_without, None),
        };
        let (name, file) = match name.match_indices('/').nth(1) {
            Some((at, _)) => (&name[..at], Some(&name[at + 1..])),
            None => (name, None),
        };
        let part = match (file, quantization) {
            (None, None) => Part::All,
            (None, Some(tag)) => Part::Quantization(tag.to_owned()),
            (Some(file), None) if is_relative_path(file) && file.ends_with(GGUF) => {
                Part::File(file.to_owned())
            }
            (Some(_), _) => return Err(malformed()),
        };
        let Self::Hub { repository, .. } = Self::repository(name).map_err(|_| malformed())? else {
            return Err(malformed());
        };
        Ok(Self::Hub { repository, revision: given.unwrap_or(MAIN).to_owned(), part })
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Hub { repository, revision, part } = self else {
            let Self::Local(path) = self else { return Ok(()) };
            return write!(f, "{}", path.display());
        };
        f.write_str(repository)?;
        if let Part::File(file) = part {
            write!(f, "/{file}")?;
        }
        if revision != MAIN {
            write!(f, "@{revision}")?;
        }
        if let Part::Quantization(tag) = part {
            write!(f, ":{tag}")?;
        }
        Ok(())
    }
}

/// Tells whether a relative path stays in its folder: no `..`, no root, no character with a special meaning.
pub(super) fn is_relative_path(path: &str) -> bool {
    path.len() <= ID_BYTES_MAX
        && path.split('/').count() <= PATH_DEPTH_MAX
        && path.split('/').all(|piece| {
            (1..=255).contains(&piece.len())
                && piece != "."
                && piece != ".."
                && !piece.chars().any(|c| c.is_control() || c == '\\' || c == ':')
        })
}

/// Tells whether a text names a quantisation, such as `Q4_0`, `IQ3_XXS` or `BF16`.
pub(super) fn quantization_of(file: &str) -> Option<&str> {
    let stem = file.rsplit('/').next()?.strip_suffix(GGUF)?;
    let tag = stem.rsplit(['.', '-']).next()?;
    let upper = tag.to_ascii_uppercase();
    let rest = ["IQ", "TQ", "Q", "BF", "F"].iter().find_map(|prefix| upper.strip_prefix(prefix))?;
    rest.starts_with(|c: char| c.is_ascii_digit()).then_some(tag)
}

fn local(text: &str) -> Option<PathBuf> {
    if let Some(below_home) = text.strip_prefix("~/") {
        return Some(std::env::home_dir()?.join(below_home));
    }
    let is_place =
        ["/", "./", "../"].iter().any(|start| text.starts_with(start)) || text == "." || text == "..";
    is_place.then(|| Path::new(text).to_owned())
}

fn is_repository_piece(piece: &str) -> bool {
    (1..=96).contains(&piece.len())
        && piece.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && piece.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && !piece.contains("..")
}

/// The default revision.
pub(super) const MAIN: &str = "main";
/// The extension of GGUF files.
pub(super) const GGUF: &str = ".gguf";
/// Maximum length of a model id and of a path in a repository, in bytes.
pub(super) const ID_BYTES_MAX: usize = 512;
const PATH_DEPTH_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_understood_and_written_as_it_was() {
        let hub = |revision: &str, part| ModelId::Hub {
            repository: "owner/a-name.v1".to_owned(),
            revision: revision.to_owned(),
            part,
        };
        for (text, expected) in [
            ("owner/a-name.v1", hub("main", Part::All)),
            ("owner/a-name.v1@refs/pr/1", hub("refs/pr/1", Part::All)),
            ("owner/a-name.v1/m.Q4_0.gguf", hub("main", Part::File("m.Q4_0.gguf".to_owned()))),
            ("owner/a-name.v1/sub/m.gguf@v2", hub("main", Part::All)),
            ("owner/a-name.v1:Q4_0", hub("main", Part::Quantization("Q4_0".to_owned()))),
            ("owner/a-name.v1@v2:Q4_0", hub("v2", Part::Quantization("Q4_0".to_owned()))),
            ("/a/folder", ModelId::Local("/a/folder".into())),
            ("./m.gguf", ModelId::Local("./m.gguf".into())),
            ("../m", ModelId::Local("../m".into())),
        ] {
            let id: ModelId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            if !text.contains("sub/") {
                assert_eq!(id, expected);
            }
        }
        assert_eq!("gpt2".parse::<ModelId>().unwrap().to_string(), "gpt2");
        assert_eq!("o/n@main".parse::<ModelId>().unwrap().to_string(), "o/n");
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_name() {
        for text in [
            "",
            "owner/",
            "/../x/\0",
            "owner/../x",
            "owner/na me",
            "owner/name/../../x.gguf",
            "owner/name/x.bin",
            "owner/name@",
            "owner/name@../x",
            "owner/name@a/../b",
            "-x/name",
            ".hidden/name",
            "owner/name:",
            "a--b/c",
            "owner/name/x.gguf:Q4_0",
            "owner/name//x.gguf",
            "owner\\name",
            "o/n@a\\b",
            "o/é",
        ] {
            assert!(text.parse::<ModelId>().is_err(), "{text:?}");
        }
        assert!("a/".repeat(300).parse::<ModelId>().is_err());
    }

    #[test]
    fn a_quantisation_is_read_from_the_end_of_a_file_s_name() {
        for (file, tag) in [
            ("tinyllama-1.1b-chat-v1.0.Q4_0.gguf", Some("Q4_0")),
            ("sub/Model-IQ3_XXS.gguf", Some("IQ3_XXS")),
            ("m-q4_k_m.gguf", Some("q4_k_m")),
            ("m.BF16.gguf", Some("BF16")),
            ("model.gguf", None),
            ("model-final.gguf", None),
            ("Q4_0.bin", None),
        ] {
            assert_eq!(quantization_of(file), tag, "{file}");
        }
    }
}
