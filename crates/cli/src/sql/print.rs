//! Rows written out: tables for people, the forms of the server's door, Parquet.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flamestore_server::{RowFormat, RowWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::Format;
use super::source::Rows;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Column};

/// RFC 3339 of times without a zone, which are of UTC.
const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// Writes all of `rows` to `out`; how many they were.
///
/// # Errors
/// What the rows say; when they have no form in `format`, or cannot be written.
pub(super) async fn write(rows: &mut Rows, format: Format, out: &mut Out) -> Outcome<u64> {
    match format {
        Format::Table => write_table(rows, out).await,
        Format::Json => write_rows(rows, RowFormat::Json, out).await,
        Format::Csv => write_rows(rows, RowFormat::Csv, out).await,
        Format::Arrow => write_rows(rows, RowFormat::Arrow, out).await,
        Format::Parquet => write_parquet(rows, out).await,
    }
}

async fn write_table(rows: &mut Rows, out: &mut Out) -> Outcome<u64> {
    let schema = rows.schema();
    let names: Vec<String> = schema.fields().iter().map(|field| visible(field.name())).collect();
    let header = schema.fields().iter().zip(&names).map(|(field, name)| match is_number(field.data_type()) {
        true => Column::Number(name),
        false => Column::Text(name),
    });
    let header: Vec<Column<'_>> = header.collect();
    let mut lines = Vec::new();
    while let Some(batch) = rows.next().await? {
        lines.extend(cells(&batch).map_err(unwritable)?);
    }
    let count = lines.len() as u64;
    out.put(output::table(&header, lines).as_bytes())?;
    Ok(count)
}

async fn write_rows(rows: &mut Rows, format: RowFormat, out: &mut Out) -> Outcome<u64> {
    let mut writer = RowWriter::new(format, &rows.schema())?;
    let mut count = 0;
    while let Some(batch) = rows.next().await? {
        count += batch.num_rows() as u64;
        for piece in writer.pieces(&batch) {
            writer.write(&piece)?;
            out.put(&writer.take())?;
        }
        if out.is_closed {
            return Ok(count);
        }
    }
    out.put(&writer.finish()?)?;
    Ok(count)
}

async fn write_parquet(rows: &mut Rows, out: &mut Out) -> Outcome<u64> {
    let failed = |e: ParquetError| Failure::new(format!("the rows cannot be written as Parquet: {e}"));
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(&mut *out, rows.schema(), Some(properties)).map_err(failed)?;
    let mut count = 0;
    while let Some(batch) = rows.next().await? {
        count += batch.num_rows() as u64;
        writer.write(&batch).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    Ok(count)
}

fn unwritable(error: ArrowError) -> Failure {
    Failure::new(format!("the rows cannot be shown: {error}"))
}

fn cells(batch: &RecordBatch) -> Result<Vec<Vec<String>>, ArrowError> {
    let options = FormatOptions::new().with_null("NULL").with_timestamp_format(Some(TIME_FORMAT));
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let cell = |column: &ArrayFormatter<'_>, row| column.value(row).try_to_string().map(|text| visible(&text));
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| cell(column, row)).collect()).collect()
}

fn is_number(ty: &DataType) -> bool {
    match ty {
        DataType::Dictionary(_, values) => is_number(values),
        ty => ty.is_numeric(),
    }
}

/// `text` on one line, with nothing that a terminal would obey.
fn visible(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let shown = text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
    shown.collect()
}

/// Where rows go. A file has its name once it is whole: until then, and where something fails, there is none, or the one
/// that was there before.
#[derive(Debug)]
pub(super) struct Out {
    to: To,
    /// Nobody reads standard output any more.
    pub(super) is_closed: bool,
}

#[derive(Debug)]
enum To {
    Stdout(io::Stdout),
    /// A device, a pipe: has its name before and after.
    Special(File),
    File {
        written: BufWriter<File>,
        partial: Partial,
        path: PathBuf,
    },
}

/// A file that is not whole; removed when dropped.
#[derive(Debug)]
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // it has its name by now, or stays behind where it cannot be removed
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Out {
    /// Opens `file`, or standard output.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(super) fn open(file: Option<&Path>) -> Outcome<Self> {
        let Some(path) = file else { return Ok(Self::stdout()) };
        let failed = |e: io::Error| Failure::io(format!("--output {}", path.display()), &e);
        let to = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(failed(io::ErrorKind::IsADirectory.into())),
            Ok(found) if !found.is_file() => To::Special(File::options().write(true).open(path).map_err(failed)?),
            _ => {
                let mut name = path.as_os_str().to_owned();
                name.push(".partial");
                let partial = PathBuf::from(name);
                let written = BufWriter::new(File::create(&partial).map_err(failed)?);
                To::File { written, partial: Partial(partial), path: path.to_owned() }
            }
        };
        Ok(Self { to, is_closed: false })
    }

    /// Standard output.
    pub(super) fn stdout() -> Self {
        Self { to: To::Stdout(io::stdout()), is_closed: false }
    }

    /// Writes `bytes`; to a reader that went away, nothing.
    fn put(&mut self, bytes: &[u8]) -> Outcome {
        self.write_all(bytes).and_then(|()| self.flush()).map_err(|e| self.failure(&e))
    }

    /// Gives a file its name.
    ///
    /// # Errors
    /// When it cannot be written to its end or be named.
    pub(super) fn finish(mut self) -> Outcome {
        self.flush().map_err(|e| self.failure(&e))?;
        match &self.to {
            To::File { partial, path, .. } => std::fs::rename(&partial.0, path).map_err(|e| self.failure(&e)),
            To::Stdout(_) | To::Special(_) => Ok(()),
        }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        match &self.to {
            To::Stdout(_) => Failure::io("standard output", error),
            To::Special(_) => Failure::io("--output", error),
            To::File { path, .. } => Failure::io(path.display(), error),
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match &mut self.to {
            To::Stdout(out) => out,
            To::Special(file) => file,
            To::File { written, .. } => written,
        }
    }

    /// What was written, a reader that went away taken as one that does not mind.
    fn unless_closed<T>(&mut self, done: io::Result<T>, otherwise: T) -> io::Result<T> {
        match done {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe && matches!(self.to, To::Stdout(_)) => {
                self.is_closed = true;
                Ok(otherwise)
            }
            done => done,
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Ok(bytes.len());
        }
        let done = self.writer().write(bytes);
        self.unless_closed(done, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let done = self.writer().flush();
        self.unless_closed(done, ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_cell_moves_the_cursor() {
        assert_eq!(visible("plain ünïcode"), "plain ünïcode");
        assert_eq!(visible("a\nb\tc\u{1b}[31m\u{7f}"), "a\\nb\\tc\\u{1b}[31m\\u{7f}");
    }

    #[test]
    fn a_file_has_its_name_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        let mut out = Out::open(Some(&path)).unwrap();
        out.put(b"a\n").unwrap();
        drop(out);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        for text in ["first", "second"] {
            let mut out = Out::open(Some(&path)).unwrap();
            out.put(text.as_bytes()).unwrap();
            out.finish().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Out::open(Some(folder.path())).is_err());
        let mut out = Out::open(Some(Path::new("/dev/null"))).unwrap();
        out.put(b"gone").unwrap();
        out.finish().unwrap();
    }
}
