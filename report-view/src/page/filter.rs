//! The form that narrows a list. It asks by GET, so that a narrowed list has an address.

use askama::Template;

use crate::escape::Text;
use crate::html::RenderError;

/// A form of fields.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The page that answers.
    pub action: &'static str,
    /// Fields.
    pub fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug)]
pub enum Field {
    /// Free text.
    Text {
        /// Its name in the query.
        name: &'static str,
        /// Its label.
        label: &'static str,
        /// What was asked for.
        value: Text,
    },
    /// One of several values.
    Choice {
        /// Its name in the query.
        name: &'static str,
        /// Its label.
        label: &'static str,
        /// All values; an unnarrowed list is the value before them.
        choices: Vec<Choice>,
    },
}

/// One value of a field.
#[derive(Clone, Debug)]
pub struct Choice {
    /// As in the query.
    pub value: Text,
    /// As shown.
    pub label: Text,
    /// Whether it was asked for.
    pub chosen: bool,
}

#[derive(Template)]
#[template(path = "page/filter.html")]
struct Page<'a>(&'a Filter);

impl Filter {
    /// Whether it narrows anything.
    pub fn narrows(&self) -> bool {
        self.fields.iter().any(|it| match it {
            Field::Text { value, .. } => !value.is_empty(),
            Field::Choice { choices, .. } => choices.iter().any(|it| it.chosen),
        })
    }

    pub(crate) fn html(&self) -> Result<String, RenderError> {
        Ok(Page(self).render()?)
    }
}
