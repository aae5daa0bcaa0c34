//! Where this process runs, and what its instance is called.

use super::reader::Reader;
use url::Url;

/// Where this process runs.
#[derive(Debug)]
pub(super) struct Platform {
    /// On one of Azure's own machines.
    pub(super) is_azure: bool,
    /// The instance, `local` when nothing names it.
    pub(super) instance: String,
}

impl Platform {
    /// Reads what Azure Functions and Linux say about the machine. Empty counts as unset.
    ///
    /// Source: `EnvironmentExtensions.cs` of azure-functions-host. A dedicated or premium plan sets
    /// `WEBSITE_INSTANCE_ID`; Flex Consumption sets `WEBSITE_POD_NAME` instead, Linux Consumption
    /// `CONTAINER_NAME`, both with `LEGION_SERVICE_HOST`. `func start` and a plain container set none.
    pub(super) fn read(reader: &Reader) -> Self {
        let set = |name| reader.of_platform(name).filter(|text| !text.trim().is_empty());
        let container = set("CONTAINER_NAME");
        let pod = set("WEBSITE_POD_NAME");
        let website = set("WEBSITE_INSTANCE_ID");
        // Anybody may call a container CONTAINER_NAME: alone it says nothing about Azure.
        let is_legion = container.is_some() && set("LEGION_SERVICE_HOST").is_some();
        let is_azure = website.is_some() || pod.is_some() || is_legion;
        let named = website.or(pod).or(container).or_else(|| set("HOSTNAME"));
        Self { is_azure, instance: named.unwrap_or_else(|| "local".into()) }
    }
}

/// Where the platform gives tokens. With another scheme each of them would fail, and no URL could be kept
/// from it.
pub(super) fn identity_endpoint(reader: &mut Reader) -> Option<String> {
    let name = "IDENTITY_ENDPOINT";
    let text = reader.of_platform(name).filter(|text| !text.trim().is_empty())?;
    if !Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
        let problem = "must be an http or https URL: the platform sets it where an app has an identity; \
                       elsewhere unset it";
        reader.violation(name, &text, problem.into());
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Program;

    /// Variables, whether they are Azure's, and the instance's name.
    type Case = (&'static [(&'static str, &'static str)], bool, &'static str);

    /// S14 X10: what each combination says, and who names the instance.
    #[test]
    fn azure_is_where_it_says_so() {
        let cases: [Case; 9] = [
            (&[], false, "local"),
            (&[("HOSTNAME", "laptop")], false, "laptop"),
            (&[("WEBSITE_INSTANCE_ID", ""), ("WEBSITE_POD_NAME", " ")], false, "local"),
            (&[("WEBSITE_INSTANCE_ID", "i"), ("WEBSITE_POD_NAME", "p")], true, "i"),
            (&[("WEBSITE_POD_NAME", "p"), ("CONTAINER_NAME", "c")], true, "p"),
            (&[("WEBSITE_SKU", "FlexConsumption"), ("WEBSITE_POD_NAME", "p")], true, "p"),
            (&[("CONTAINER_NAME", "c"), ("LEGION_SERVICE_HOST", "l")], true, "c"),
            (&[("CONTAINER_NAME", "c"), ("HOSTNAME", "h")], false, "c"),
            (&[("LEGION_SERVICE_HOST", "l"), ("HOSTNAME", "h")], false, "h"),
        ];
        for (variables, is_azure, instance) in cases {
            let pairs = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            let platform =
                Platform::read(&Reader::new(Program::Handler, pairs.collect(), [].into()));
            assert_eq!(
                (platform.is_azure, &*platform.instance),
                (is_azure, instance),
                "{variables:?}"
            );
        }
    }
}
