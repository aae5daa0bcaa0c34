//! What the deployment's workflow sends when it is called: its definition, run on paper.
//!
//! Of the language of workflows only what the definition uses is understood (conditions, calls over HTTP,
//! `concat`, `base64`, `equals`, `parameters`, `triggerBody` with `?['key']`); anything else panics.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// A workflow that is called with a body.
pub struct Workflow<'w> {
    pub definition: &'w Value,
    /// Values of its parameters, by name.
    pub parameters: &'w Value,
    pub body: &'w Value,
}

/// A call over HTTP that it makes.
#[derive(Debug, PartialEq)]
pub struct Call {
    pub method: String,
    pub uri: String,
    pub body: String,
    /// The type of its authentication.
    pub authentication: String,
}

impl Workflow<'_> {
    /// The calls that it makes, in no particular order.
    pub fn calls(&self) -> Vec<Call> {
        self.run(&self.definition["actions"])
    }

    fn run(&self, actions: &Value) -> Vec<Call> {
        let actions = actions.as_object().unwrap().values();
        actions.flat_map(|action| self.act(action)).collect()
    }

    fn act(&self, action: &Value) -> Vec<Call> {
        assert_eq!(action["runAfter"], json!({}), "{action}");
        match action["type"].as_str().unwrap() {
            "If" => {
                let holds = self.evaluate(&action["expression"]).as_bool().unwrap();
                self.run(if holds { &action["actions"] } else { &action["else"]["actions"] })
            }
            "Http" => {
                let inputs = &action["inputs"];
                let text = |value: &Value| self.evaluate(value).as_str().unwrap().to_owned();
                let [method, uri, body] = ["method", "uri", "body"].map(|name| text(&inputs[name]));
                let authentication = text(&inputs["authentication"]["type"]);
                vec![Call { method, uri, body, authentication }]
            }
            other => panic!("an action of type {other}"),
        }
    }

    /// The value of a text: itself, or that of the expression after `@`.
    fn evaluate(&self, text: &Value) -> Value {
        let text = text.as_str().unwrap();
        assert!(!text.contains("@{"), "{text}");
        let Some(expression) = text.strip_prefix('@') else { return text.into() };
        let (value, rest) = self.term(expression);
        assert_eq!(rest, "", "{text}");
        value
    }

    /// The value of the term that a text begins with, and what follows it.
    fn term<'t>(&self, text: &'t str) -> (Value, &'t str) {
        if let Some(rest) = text.strip_prefix('\'') {
            let (literal, rest) = rest.split_once('\'').expect(text);
            assert!(!rest.starts_with('\''), "a quote in a literal: {text}");
            return (literal.into(), rest);
        }
        let (name, mut rest) = text.split_once('(').expect(text);
        let mut arguments = Vec::new();
        while !rest.starts_with(')') {
            let (argument, after) = self.term(rest);
            arguments.push(argument);
            rest = after.strip_prefix(',').unwrap_or(after).trim_start();
        }
        let (mut value, mut rest) = (self.call(name, &arguments), &rest[1..]);
        while let Some(after) = rest.strip_prefix("?['") {
            let (key, after) = after.split_once("']").expect(text);
            value = value.get(key).cloned().unwrap_or_default();
            rest = after;
        }
        (value, rest)
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Value {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        match (name, arguments) {
            ("concat", parts) => parts.iter().map(text).collect::<String>().into(),
            ("base64", [value]) => STANDARD.encode(text(value)).into(),
            ("equals", [left, right]) => (left == right).into(),
            ("parameters", [name]) => self.parameters[text(name)].clone(),
            ("triggerBody", []) => self.body.clone(),
            other => panic!("{other:?} is not understood"),
        }
    }
}
