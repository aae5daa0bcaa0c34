//! Numbers as people read them.

/// `1 image`, `2 images`.
pub fn count(n: impl ToString, one: &str) -> String {
    let n = n.to_string();
    if n == "1" { format!("1 {one}") } else { format!("{n} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_others_are_many() {
        let said = [0, 1, 2].map(|n| count(n, "image"));
        assert_eq!(said, ["0 images", "1 image", "2 images"]);
    }
}
