use super::*;
use url::{Position, Url};

const OWN: &str = "foobot";

/// Whether an agent may ask for what the URL parser makes of a path.
fn allows_to(own: &str, text: &str, path: &str) -> bool {
    let url = Url::parse("https://foo.example/").unwrap().join(path).unwrap();
    Robots::parse(text.as_bytes(), own).allow(&url[Position::BeforePath..Position::AfterQuery])
}

fn allows(text: &str, path: &str) -> bool {
    allows_to(OWN, text, path)
}

/// Of some rules for us: which of these paths are allowed, and which are not.
#[track_caller]
fn check(rules: &str, allowed: &str, forbidden: &str) {
    let text = format!("user-agent: FooBot\n{rules}\n");
    for (paths, expected) in [(allowed, true), (forbidden, false)] {
        for path in paths.split_whitespace() {
            assert_eq!(allows(&text, path), expected, "{path} under {rules:?}");
        }
    }
}

/// Case 420: the examples of RFC 9309: precedence, special characters, and its two files.
#[test]
fn the_examples_of_the_rfc_are_read_as_it_says() {
    check(
        "Allow: /example/page/\nDisallow: /example/page/disallowed.gif",
        "/example/page/ /example/page/x.gif",
        "/example/page/disallowed.gif",
    );
    check("Allow: /this/*/exactly", "/this/is/exactly /other", "");
    check("Disallow: /this/path/exactly$", "/this/path/exactly/ /this/path", "/this/path/exactly");
    check(
        "Disallow: /path/file-with-a-%2A.html",
        "/path/file-with-a-b.html",
        "/path/file-with-a-*.html",
    );
    check("Disallow: /path/foo-%24", "/path/foo-", "/path/foo-$ /path/foo-$/x");
    let simple = "User-Agent: *\nDisallow: *.gif$\nDisallow: /example/\nAllow: /publications/\n\
        User-Agent: foobot\nDisallow:/\nAllow:/example/page.html\nAllow:/example/allowed.gif\n\
        User-Agent: barbot\nUser-Agent: bazbot\nDisallow: /example/page.html\n\
        User-Agent: quxbot\n";
    let may = |own: &str, path: &str| allows_to(own, simple, path);
    assert!(may("foobot", "/example/page.html") && may("foobot", "/example/allowed.gif"));
    assert!(!may("foobot", "/publications/"));
    for own in ["barbot", "bazbot"] {
        assert!(!may(own, "/example/page.html") && may(own, "/example/x.gif"), "{own}");
    }
    assert!(may("quxbot", "/x.gif"), "a group without rules");
    assert!(!may("other", "/x.gif") && may("other", "/x.gif?1") && !may("other", "/example/x"));
    // Section 5.2: the longest match.
    let longest =
        "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n";
    assert!(!allows(longest, "/example/page/disallowed.gif"));
    assert!(allows(longest, "/robots"));
}

/// Case 420: the table of RFC 9309, section 2.2.2: how each path is compared.
#[test]
fn a_path_is_one_path_however_it_is_spelled() {
    for (rule, paths) in [
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz"),
        (
            "/foo/bar?baz=https://foo.bar",
            "/foo/bar?baz=https://foo.bar /foo/bar?baz=https%3A%2F%2Ffoo.bar",
        ),
        ("/foo/bar?baz=https%3A%2F%2Ffoo.bar", "/foo/bar?baz=https://foo.bar"),
        ("/foo/bar/\u{30c4}", "/foo/bar/\u{30c4} /foo/bar/%E3%83%84 /foo/bar/%e3%83%84"),
        ("/foo/bar/%E3%83%84", "/foo/bar/\u{30c4} /foo/bar/%e3%83%84"),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz /foo/bar/%62%61%7a"),
        ("/foo/bar/baz", "/foo/bar/%62%61%7A"),
        ("/a'b|c", "/a'b|c /a%27b%7Cc"),
        ("/a?b='c", "/a?b='c /a?b=%27c"),
        ("/100%", "/100% /100%25"),
        ("/a{b}", "/a{b} /a%7Bb%7D"),
    ] {
        check(&format!("disallow: {rule}"), "/foo/bar /foo/bar/", paths);
    }
    check("disallow: /a%2Fb", "/a/b", "/a%2fb");
    check("disallow: /a/b", "/a%2Fb", "/a/b");
    check("disallow: /x/", "/X/y", "/x/y");
}

/// Case 420: what Google's parser was published with, where the RFC does not say otherwise.
#[test]
fn what_googles_parser_takes_is_taken() {
    // Groups: rules before any are nobody's, agents in a row share one, and those of one agent are one.
    let groups = "allow: /foo/bar/\n\nuser-agent: FooBot\ndisallow: /\nallow: /x/\n\
        user-agent: BarBot\ndisallow: /\nallow: /y/\n\n\nallow: /w/\n\
        user-agent: BazBot\n\nuser-agent: FooBot\nallow: /z/\ndisallow: /\n";
    for (own, allowed, forbidden) in [
        ("foobot", vec!["/x/b", "/z/d"], vec!["/y/c", "/foo/bar/"]),
        ("barbot", vec!["/y/c", "/w/a"], vec!["/z/d", "/foo/bar/"]),
        ("bazbot", vec!["/z/d"], vec!["/foo/bar/"]),
    ] {
        assert!(allowed.iter().all(|path| allows_to(own, groups, path)), "{own}");
        assert!(!forbidden.iter().any(|path| allows_to(own, groups, path)), "{own}");
    }
    for text in [
        "user-agent: FooBot\ndisallow: /\n",
        "USER-AGENT: FOOBOT\nDISALLOW: /\n",
        "uSeR-aGeNt:foobot\ndIsAlLoW:/",
        "user-agent FooBot\ndisallow /\n",
        "useragent: FooBot\ndissallow: /",
        "user-agent: foobot/2.1\ndisallow: /",
        "user-agent: foobot (x)\ndisallow: /",
        "user-agent: FOO\nuser-agent: FooBot bar\ndisallow: /",
        "user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /",
        "user-agent: FooBot\ncrawl-delay: 3\nsitemap: /s\n# \ndisallow: / # all",
        "user-agent: FooBot\rdisallow: /\r",
        "user-agent: FooBot\r\n\r\ndisallow: /\r\n",
        "\u{feff}user-agent: FooBot\ndisallow: /",
        "user-agent: *\ndisallow: /",
        "user-agent: * # all\ndisallow: /",
        "user-agent: a\nuser-agent: *\nsitemap: x\nuser-agent: b\ndisallow: /",
        "user-agent: FooBot\n\u{0}\u{1}\ndisallow: /",
    ] {
        assert!(!allows(text, "/x/y"), "{text:?}");
    }
    for text in [
        "",
        "<!doctype html>\n<html>user-agent: *\n disallow everything\n</html>",
        "foo: FooBot\nbar: /\n",
        "disallow: /\nuser-agent: FooBot",
        "user-agent:\ndisallow: /",
        "user-agent: FooBot\nallow: /\nuser-agent: BarBot\ndisallow: /",
        "user-agent: *\ndisallow: /\nuser-agent: FooBot",
        "user-agent: FooBot\n\nuser-agent: BarBot\nallow: /\nuser-agent: *\ndisallow: /",
        "user-agent: FooBot\ndisallow:\nallow:",
        "user-agent: FooBo\nuser-agent: FooBots\nuser-agent: oobot\ndisallow: /",
        "user-agent: FooBot\n# disallow: /\n#disallow: /",
        "user-agent: FooBot\ndisallow / if you can",
    ] {
        assert!(allows(text, "/x/y"), "{text:?}");
    }
}

/// Case 420: paths of rules, as Google's documentation lists them.
#[test]
fn the_longest_rule_that_matches_counts() {
    let fish = "/fish /fish.html /fish/salmon.html /fishheads /fishheads/yummy.html /fish.html?id=anything";
    check("disallow: /\nallow: /fish", fish, "/bar /Fish.asp /catfish /?id=fish");
    check("disallow: /\nallow: /fish*", fish, "/bar /Fish.asp /catfish /?id=fish");
    check(
        "disallow: /\nallow: /fish/",
        "/fish/ /fish/salmon /fish/?id=anything",
        "/fish /fish.html /Fish/Salmon.html",
    );
    check(
        "disallow: /\nallow: /*.php",
        "/filename.php /folder/filename.php?parameters //folder/any.php.file.html /filename.php/ /index?f=filename.php/",
        "/bar /php/ /index?php /windows.PHP",
    );
    check(
        "disallow: /\nallow: /*.php$",
        "/filename.php /folder/filename.php",
        "/filename.php?parameters /filename.php/ /filename.php5 /php/ /filename?php /aaaphpaaa //windows.PHP",
    );
    check(
        "disallow: /\nallow: /fish*.php",
        "/fish.php /fishheads/catfish.php?parameters",
        "/bar /Fish.PHP",
    );
    check("allow: /p\ndisallow: /", "/page", "/other");
    check("allow: /folder\ndisallow: /folder", "/folder/page", "");
    check("allow: /page\ndisallow: /*.htm", "/page", "/page.htm");
    check("allow: /$\ndisallow: /", "/", "/page.html");
    check("disallow: /x/page.html\nallow: /x/", "/x/", "/x/page.html");
    check("disallow: /x\nallow: /x/", "/x/", "/x");
    check("allow: /x/page.\ndisallow: /*.html", "/x/page.html", "/x/y.html");
    check(
        "disallow: /foo/bar/quz\nallow: /foo/*/qux",
        "/foo/quz /foo//quz /foo/bax/quz",
        "/foo/bar/quz",
    );
    check("disallow: /foo/quz#qux", "/foo/bar", "/foo/quz");
    check("disallow: /a$b", "/a", "/a$b/c");
    // What is written without a slash is meant with it.
    check("disallow: images/", "/x/images/", "/images/1.jpg");
    check("disallow: *.gif", "/x.gi", "/x.gif /a/x.gif?1");
    // No text between stars may be used twice.
    check("disallow: /*ab*ab$", "/ab /abc", "/abab /ab-ab");
    check("disallow: /*aba*ba$", "/abab", "/ababa /aba-ba");
    check("disallow: /**a", "/b", "/a /xa");
    check("disallow: /a*", "/b", "/a /a/b");
    check("disallow: $", "", "/");
}

/// Case 421: we are known by the product of our user agent, and by the name of which it is a variant; the
/// longest of these names counts.
#[test]
fn the_longest_of_our_names_counts() {
    let own = consent::product("pixcrawler-chunk-handler/0.1.0 (+https://example.com)");
    let may = |text: &str| allows_to(&own, text, "/x");
    assert!(!may("User-agent: PixCrawler\nDisallow: /"));
    assert!(!may("User-agent: pixcrawler-chunk-handler\nDisallow: /"));
    assert!(may(
        "User-agent: pixcrawler-chunk-handler\nDisallow:\n\nUser-agent: PixCrawler\nDisallow: /"
    ));
    assert!(may(
        "User-agent: PixCrawler\nDisallow: /\n\nUser-agent: pixcrawler-chunk-handler\nAllow: /"
    ));
    assert!(may("User-agent: pixcrawl\nUser-agent: pix\nUser-agent: handler\nDisallow: /"));
    assert!(may("User-agent: pixcrawler-chunk-handler-2\nDisallow: /"));
    assert!(allows_to("", "User-agent: a\nDisallow: /", "/x"), "nobody's name");
    assert!(!allows_to("", "User-agent: *\nDisallow: /", "/x"));
}

/// Case 422: what is behind 500 KiB does not count, nor does half of a line; all before it does.
#[test]
fn only_whole_lines_within_the_limit_count() {
    let filled = |before: &str, len: usize, after: &str| {
        let filler = len - before.len() - 1;
        format!("{before}{}\n{after}", "#".repeat(filler))
    };
    let start = "user-agent: *\ndisallow: /first\n";
    let rule = "disallow: /last\n";
    let within = filled(start, LIMIT - rule.len(), rule) + "disallow: /behind\n";
    assert!(!allows(&within, "/first") && !allows(&within, "/last") && allows(&within, "/behind"));
    // Its first half would forbid everything.
    let cut = filled(start, LIMIT - "disallow: /".len(), "disallow: /last\n");
    assert!(!allows(&cut, "/first") && allows(&cut, "/x") && allows(&cut, "/last"));
    let one_line = format!("user-agent: *\rdisallow: /{}", "a".repeat(2 * LIMIT));
    assert!(allows(&one_line, "/a"));
}

/// Case 423: whatever a stranger writes costs little memory, and a URL no more than so many steps; what
/// takes more is forbidden.
#[test]
fn a_hostile_robots_txt_costs_little() {
    let many = |rule: &str| format!("user-agent: *\n{}", rule.repeat(LIMIT / rule.len() - 2));
    let path = format!("/{}", "ab".repeat(4000));
    for rule in ["allow:*bb\n", "allow:/*a*b*a*b*a*c\n", "allow:/a\n", "allow:/*a*c$\n"] {
        let robots = Robots::parse(many(rule).as_bytes(), OWN);
        assert!(robots.weight() < 8 * LIMIT, "{rule} {}", robots.weight());
        let mut cost = 0;
        for rule in &robots.0 {
            cost += rule.matches(&path).1;
            if cost > MOST_STEPS {
                break;
            }
        }
        assert_eq!(robots.allow(&path), cost <= MOST_STEPS, "{rule}");
    }
    let stars = format!("user-agent: *\ndisallow: /{}x", "*a".repeat(LIMIT / 2 - 50));
    assert!(Robots::parse(stars.as_bytes(), OWN).allow(&path));
    assert!(allows(&many("disallow:*bb\n"), "/short"), "many rules, and a usual path");
}

/// A fuzz target: no robots.txt makes its reader panic, and what it says of a URL depends neither on the
/// spelling of its lines nor of the path.
#[test]
fn fuzz_robots() {
    let seeds = [
        "user-agent: foobot\ndisallow: /a*b$\nallow: /a/%62\n",
        "User-Agent: *\r\nDisallow: /*?x=*\r\nAllow: /\u{30c4}$",
        "\u{feff}user-agent: foo\nuser-agent: foobot/1\n\ndisallow /\n",
        "user-agent: foobot\ndisallow: /**$$*\nallow: %2A%24%\n# x",
    ]
    .map(|seed| seed.as_bytes().to_vec());
    fuzz::target::run("robots", &seeds, |text| {
        let robots = Robots::parse(text, OWN);
        assert!(robots.weight() <= 64 * (text.len() + 1));
        let mut crlf = Vec::new();
        for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
            crlf.extend([line, b"\r\n"].concat());
        }
        let other = Robots::parse(&crlf, OWN);
        let of_text = String::from_utf8_lossy(text.get(..200).unwrap_or(text)).into_owned();
        for path in ["/", "/a/b", "/acb?x=1", "/%E3%83%84", "/a*b$", of_text.as_str()] {
            let path = normal(path.as_bytes(), false);
            assert_eq!(normal(path.as_bytes(), false), path, "in one spelling already");
            let allowed = robots.allow(&path);
            assert!(text.len() > LIMIT / 2 || other.allow(&path) == allowed, "{path}");
        }
    });
}
