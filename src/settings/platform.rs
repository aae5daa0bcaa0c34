//! Where this process runs, and what its instance is called.

use super::reader::Reader;
use serde::Deserialize;

/// What Azure Functions and Linux say about the machine.
///
/// Source: `EnvironmentExtensions.cs` of azure-functions-host. A dedicated or premium plan sets
/// `WEBSITE_INSTANCE_ID`; Flex Consumption sets `WEBSITE_POD_NAME` instead, Linux Consumption
/// `CONTAINER_NAME`, both with `LEGION_SERVICE_HOST`. `func start` and a plain container set none.
#[derive(Debug, Default, Deserialize)]
struct Variables {
    website_instance_id: Option<String>,
    website_pod_name: Option<String>,
    container_name: Option<String>,
    legion_service_host: Option<String>,
    hostname: Option<String>,
}

/// Where this process runs.
#[derive(Debug)]
pub(super) struct Platform {
    /// On one of Azure's own machines.
    pub(super) is_azure: bool,
    /// The instance, `local` when nothing names it.
    pub(super) instance: String,
}

impl Platform {
    /// Reads it. Empty counts as unset.
    pub(super) fn read(reader: &Reader) -> Self {
        let variables: Variables = reader.foreign_variables();
        let set = |value: Option<String>| value.filter(|text| !text.trim().is_empty());
        let container = set(variables.container_name);
        let pod = set(variables.website_pod_name);
        let website = set(variables.website_instance_id);
        // Anybody may call a container CONTAINER_NAME: alone it says nothing about Azure.
        let is_legion = container.is_some() && set(variables.legion_service_host).is_some();
        let is_azure = website.is_some() || pod.is_some() || is_legion;
        let named = website.or(pod).or(container).or(set(variables.hostname));
        Self { is_azure, instance: named.unwrap_or_else(|| "local".into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let platform = Platform::read(&Reader::new(pairs.collect(), [].into()));
            assert_eq!(
                (platform.is_azure, &*platform.instance),
                (is_azure, instance),
                "{variables:?}"
            );
        }
    }
}
