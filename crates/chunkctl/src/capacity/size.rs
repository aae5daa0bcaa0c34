//! Sizes of the database and what they take, as `infra/types.bicep` has them.

/// A size that the deployment knows, the smallest first, with the connections that it has for users.
pub(crate) const SIZES: [(&str, u32); 4] = [
    ("Standard_B1ms", 35),
    ("Standard_B2s", 414),
    ("Standard_D2ds_v5", 844),
    ("Standard_D4ds_v5", 1703),
];

/// What a fleet of so many instances may open: five each. Control messages and the timer have an
/// instance of their own, and there are twice as many of those two while an update is rolled out.
pub(crate) fn connections(instances: f64) -> f64 {
    5.0 * (instances + 4.0)
}

/// The smallest size with so many connections; none: no size has as many.
pub(crate) fn smallest(connections: f64) -> Option<&'static str> {
    SIZES.iter().find(|(_, most)| f64::from(*most) >= connections).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The deployment and the advice have one table and one sum.
    #[test]
    fn sizes_are_those_of_the_deployment() {
        let read = |file: &str| {
            std::fs::read_to_string(format!("{}/../../infra/{file}", env!("CARGO_MANIFEST_DIR")))
                .unwrap()
        };
        let types = read("types.bicep");
        let row = |line: &str| {
            let (name, rest) = line.trim().strip_prefix("Standard_")?.split_once(": { tier: ")?;
            let (_, n) = rest.split_once("userConnections: ")?;
            Some((format!("Standard_{name}"), n.trim_end_matches(" }").parse::<u32>().unwrap()))
        };
        let rows: Vec<(String, u32)> = types.lines().filter_map(row).collect();
        assert_eq!(rows, SIZES.map(|(name, n)| (name.to_owned(), n)));
        assert!(read("main.bicep").contains("var connections = 5 * (wantedInstances + 4)"));
        assert_eq!(connections(1.0), 25.0);
        assert_eq!(smallest(35.0), Some("Standard_B1ms"));
        assert_eq!(smallest(36.0), Some("Standard_B2s"));
        assert_eq!(smallest(1704.0), None);
    }
}
