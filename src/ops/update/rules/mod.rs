//! The rules by which parameters follow their gradients. A new one is a file beside this one, and its name below.
mod adamw;
mod ema;
mod sgd;

pub use adamw::AdamW;
pub use ema::Ema;
pub use sgd::Sgd;

use super::formula::RuleDef;

/// Declares [`Rule`] with one variant per struct; a list, so that adding a rule is adding its name.
macro_rules! rules {
    ($($rule:ident),* $(,)?) => {
        /// How parameters follow their gradients.
        #[derive(Clone, Copy, PartialEq, Debug)]
        pub enum Rule { $(#[doc = concat!("See [`", stringify!($rule), "`].")] $rule($rule)),* }

        impl Rule {
            /// The rule's definition.
            pub fn def(&self) -> &dyn RuleDef {
                match self { $(Rule::$rule(rule) => rule),* }
            }
        }

        $(impl From<$rule> for Rule {
            fn from(rule: $rule) -> Rule { Rule::$rule(rule) }
        })*
    };
}

rules!(AdamW, Ema, Sgd);
