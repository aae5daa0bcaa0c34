//! Template expressions that only Azure can evaluate, with its answers replaced by examples.

use super::snapshot::is_expression;

/// An identity's client id.
pub(super) const CLIENT: &str = "44444444-4444-4444-8444-444444444444";

/// A text with every reference replaced by an example of what Azure would say.
pub(super) fn resolve(text: &str) -> String {
    if !is_expression(text) {
        return text
            .strip_prefix('[')
            .filter(|rest| rest.starts_with('['))
            .unwrap_or(text)
            .to_owned();
    }
    evaluate(text.trim_start_matches('[').trim_end_matches(']'))
}

fn evaluate(expression: &str) -> String {
    let expression = expression.trim();
    if let Some(literal) = expression.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''))
        && !literal.replace("''", "").contains('\'')
    {
        return literal.replace("''", "'");
    }
    let call = |name: &str| {
        let rest = expression.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
        Some(arguments(rest).into_iter().map(evaluate).collect::<Vec<_>>())
    };
    if let Some(parts) = call("concat") {
        return parts.concat();
    }
    if let Some([text]) = call("string").as_deref() {
        return text.clone();
    }
    if let Some(parts) = call("format")
        && let Some((template, values)) = parts.split_first()
    {
        let fill = |text: String, (index, value): (usize, &String)| {
            text.replace(&format!("{{{index}}}"), value)
        };
        return values.iter().enumerate().fold(template.clone(), fill);
    }
    example(expression)
}

/// By what is asked for, which is at the end of the expression.
fn example(expression: &str) -> String {
    let ends = |part: &str| expression.to_lowercase().contains(part);
    let account = if ends("data") { "stdataexample" } else { "sthostexample" };
    if ends("blob") {
        format!("https://{account}.blob.core.windows.net/")
    } else if ends("queue") {
        format!("https://{account}.queue.core.windows.net/")
    } else if ends("table") {
        format!("https://{account}.table.core.windows.net/")
    } else if ends("connectionstring") {
        format!("InstrumentationKey={CLIENT};IngestionEndpoint=https://westeurope.example.net/")
    } else if ends("fullyqualifieddomainname") || ends("fqdn") || ends("host") {
        "psql-example.postgres.database.azure.com".to_owned()
    } else if ends("id") {
        CLIENT.to_owned()
    } else {
        expression.to_owned()
    }
}

/// The arguments of a call: cut at commas outside of brackets and texts.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut start, mut found) = (0_u32, false, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '\'' => quoted = !quoted,
            '(' | '[' if !quoted => depth += 1,
            ')' | ']' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&text[start..]);
    found
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn references_become_examples() -> anyhow::Result<()> {
        let url = "[format('postgresql://{0}@{1}:5432/pixcrawler', 'id-x', reference(resourceId('a', 'b'), '1').fullyQualifiedDomainName)]";
        assert_eq!(
            resolve(url),
            "postgresql://id-x@psql-example.postgres.database.azure.com:5432/pixcrawler"
        );
        assert_eq!(resolve("[reference('identity').clientId]"), CLIENT);
        assert_eq!(resolve("[[escaped]"), "[escaped]");
        assert_eq!(resolve("plain"), "plain");
        Ok(())
    }
}
