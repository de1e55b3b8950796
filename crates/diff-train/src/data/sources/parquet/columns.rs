//! Which columns hold pictures and labels, and their values.

use super::{super::Request, batches, damaged, reader};
use crate::{Result, data::Dataset, data::decode::decode};
use ::parquet::{
    basic::{LogicalType, Type as Physical},
    file::metadata::KeyValue,
    schema::types::{SchemaDescriptor, Type},
};
use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    types::{
        Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use diff_core::Error;
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
};

/// Names that labels go by, best first.
const LABELS: [&str; 6] = ["label", "labels", "fine_label", "class", "class_label", "coarse_label"];
/// What the Hub writes about the columns.
const METADATA: &str = "huggingface";

/// The columns that are read.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) picture: String,
    pub(super) label: Option<String>,
    /// Names of the classes, where the file has them.
    pub(super) classes: Vec<String>,
}

/// A row.
pub(super) struct Row {
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) label: Option<u32>,
}

impl Columns {
    /// The columns of the first file, as configured or as found.
    ///
    /// # Errors
    /// Lists the columns.
    pub(super) fn find(files: &[PathBuf], request: &Request) -> Result<Self> {
        let Some(file) = files.first() else {
            return Err(Dataset::error(request.name, "no Parquet files"));
        };
        let builder = reader(file)?;
        let schema = builder.parquet_schema();
        let named = class_names(builder.metadata().file_metadata().key_value_metadata());
        let picture = match &request.config.picture_column {
            Some(name) => configured("data.picture_column", name, schema, is_picture)?,
            None => find_picture(file, schema, request)?,
        };
        let label = match &request.config.label_column {
            Some(name) => Some(configured("data.label_column", name, schema, is_integer)?),
            None => find_label(schema, &named),
        };
        let classes = label.as_ref().and_then(|label| named.get(label).cloned());
        Ok(Columns { picture, label, classes: classes.unwrap_or_default() })
    }

    /// The root columns to read.
    pub(super) fn wanted(&self) -> Vec<&str> {
        [Some(self.picture.as_str()), self.label.as_deref()].into_iter().flatten().collect()
    }

    /// The rows of a batch.
    ///
    /// # Errors
    /// When a column has another type than it had in the first file, or a label is out of range.
    pub(super) fn rows(&self, batch: &RecordBatch) -> Result<VecDeque<Row>, String> {
        let column =
            |name: &str| batch.column_by_name(name).ok_or_else(|| format!("no column `{name}`"));
        let pictures = column(&self.picture)?;
        let labels = self.label.as_deref().map(column).transpose()?;
        let row = |i: usize| {
            let bytes = picture(pictures, i).map_err(|e| format!("column `{}`: {e}", self.picture));
            let name = self.label.as_deref().unwrap_or_default();
            let label = labels.map_or(Ok(None), |labels| label(labels, i));
            let label = label.map_err(|e| format!("column `{name}`: {e}"));
            Ok(Row { bytes: bytes?, label: label? })
        };
        (0..batch.num_rows()).map(row).collect()
    }
}

/// The columns of a file and their types.
pub(super) fn listed(schema: &SchemaDescriptor) -> String {
    let kind = |field: &Type| match field {
        Type::PrimitiveType { .. } if is_text(field) => "text".to_string(),
        Type::PrimitiveType { physical_type, .. } => format!("{physical_type:?}").to_lowercase(),
        Type::GroupType { fields, .. } => {
            format!("{{{}}}", fields.iter().map(|f| f.name()).collect::<Vec<_>>().join(", "))
        }
    };
    let fields = schema.root_schema().get_fields().iter();
    fields.map(|f| format!("`{}` ({})", f.name(), kind(f))).collect::<Vec<_>>().join(", ")
}

fn configured(
    key: &str,
    name: &str,
    schema: &SchemaDescriptor,
    fits: fn(&Type) -> bool,
) -> Result<String> {
    let fields = schema.root_schema().get_fields();
    match fields.iter().any(|field| field.name() == name && fits(field)) {
        true => Ok(name.to_string()),
        false => {
            let what = match key {
                "data.label_column" => "of whole numbers",
                _ => "of binary values or {bytes, path}",
            };
            let expected = format!("a column {what}; found {}", listed(schema));
            Err(Error::argument(key, name, expected).into())
        }
    }
}

/// The first column of {bytes, ...}, or the first binary one whose first value decodes.
fn find_picture(file: &Path, schema: &SchemaDescriptor, request: &Request) -> Result<String> {
    for field in schema.root_schema().get_fields() {
        let name = field.name();
        if field.is_group() && is_picture(field) {
            return Ok(name.to_string());
        }
        if is_picture(field) {
            for batch in batches(file, &[name])? {
                let batch = batch.map_err(|e| damaged(file, e))?;
                let first =
                    (0..batch.num_rows()).find_map(|i| picture(batch.column(0), i).ok().flatten());
                match first {
                    Some(bytes) if decode(&bytes, None).is_ok() => return Ok(name.to_string()),
                    Some(_) => break,
                    None => {}
                }
            }
        }
    }
    let message = format!(
        "no column holds pictures; found {}; data.picture_column names one",
        listed(schema)
    );
    Err(Dataset::error(request.name, message))
}

fn find_label(schema: &SchemaDescriptor, named: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let fields = schema.root_schema().get_fields();
    let integer = |name: &str| fields.iter().any(|f| f.name() == name && is_integer(f));
    let usual = LABELS.into_iter().find(|name| integer(name)).map(String::from);
    let mut classes = named.keys().filter(|name| integer(name));
    usual.or_else(|| match (classes.next(), classes.next()) {
        (Some(only), None) => Some(only.clone()),
        _ => None,
    })
}

fn is_picture(field: &Type) -> bool {
    match field {
        Type::GroupType { fields, .. } => {
            fields.iter().any(|f| f.name() == "bytes" && f.is_primitive() && is_picture(f))
        }
        Type::PrimitiveType { physical_type, .. } => {
            matches!(physical_type, Physical::BYTE_ARRAY) && !is_text(field)
        }
    }
}

fn is_text(field: &Type) -> bool {
    matches!(field.get_basic_info().logical_type_ref(), Some(LogicalType::String))
}

fn is_integer(field: &Type) -> bool {
    field.is_primitive() && matches!(field.get_physical_type(), Physical::INT32 | Physical::INT64)
}

/// Class names by column, out of what the Hub's tools write into a file.
fn class_names(metadata: Option<&Vec<KeyValue>>) -> BTreeMap<String, Vec<String>> {
    let text = metadata
        .and_then(|entries| entries.iter().find(|entry| entry.key == METADATA))
        .and_then(|entry| entry.value.as_deref());
    let value: Value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let features = value["info"]["features"].as_object().into_iter().flatten();
    let names = |feature: &Value| {
        let names = feature["names"].as_array().filter(|_| feature["_type"] == "ClassLabel")?;
        Some(names.iter().filter_map(Value::as_str).map(String::from).collect())
    };
    features.filter_map(|(column, feature)| Some((column.clone(), names(feature)?))).collect()
}

/// The bytes of a picture; none for a null.
fn picture(column: &ArrayRef, i: usize) -> Result<Option<Vec<u8>>, String> {
    if column.is_null(i) {
        return Ok(None);
    }
    if let Some(parts) = column.as_struct_opt() {
        let bytes = parts.column_by_name("bytes").ok_or("no field `bytes`")?;
        return picture(bytes, i);
    }
    let bytes = if let Some(values) = column.as_binary_opt::<i32>() {
        values.value(i)
    } else if let Some(values) = column.as_binary_opt::<i64>() {
        values.value(i)
    } else if let Some(values) = column.as_binary_view_opt() {
        values.value(i)
    } else {
        return Err(format!("{:?}, expected binary values", column.data_type()));
    };
    Ok(Some(bytes.to_vec()))
}

/// A label; none for a null or a negative number, which stands for one that is not told.
fn label(column: &ArrayRef, i: usize) -> Result<Option<u32>, String> {
    if column.is_null(i) {
        return Ok(None);
    }
    macro_rules! first_of {
        ($($kind:ty),*) => {
            $(if let Some(values) = column.as_primitive_opt::<$kind>() {
                i128::from(values.value(i))
            } else)* {
                return Err(format!("{:?}, expected whole numbers", column.data_type()));
            }
        };
    }
    let value = first_of!(
        Int64Type, Int32Type, Int16Type, Int8Type, UInt64Type, UInt32Type, UInt16Type, UInt8Type
    );
    match u32::try_from(value) {
        Ok(label) => Ok(Some(label)),
        Err(_) if value < 0 => Ok(None),
        Err(_) => Err(format!("label {value} is too large")),
    }
}
