use super::*;

/// A password as somebody may choose one, or a signature: it begins or ends with what joins the parts of
/// URLs and connection strings, or looks like a port.
fn odd_secret(random: &mut fastrand::Rng) -> String {
    const JOINTS: [&str; 24] = [
        "@", "/", ":", "#", "?", "%", "&", "=", ";", " ", "\"", "'", "\\", ",", "[", "]", "%40",
        "//", "://", "é", "密", "5432", "80", "+",
    ];
    let n = random.usize(0..4);
    let before: String = (0..n).map(|_| JOINTS[random.usize(..JOINTS.len())]).collect();
    let ports = ["", "12", "443/", "80?", "5432#", "1@"][random.usize(..6)];
    let after = JOINTS[random.usize(..JOINTS.len())];
    format!("{ports}{before}hush{after}")
}

/// I11 Case 277: whatever a secret looks like, and whichever variable of ours it was written into, neither
/// the table of `doctor`, nor a violation or warning, nor the settings for a log show it.
#[test]
fn no_setting_shows_a_secret_of_whatever_form() {
    const FORMS: [&str; 16] = [
        "postgres://u:{}@h:5432/d",
        "postgres://:{}@h:5432/d",
        "postgres://u:{}@h:5432/d?sslmode=verify-full",
        "postgres://u@h/d?password={}",
        "postgres://u@h/d?sslmode={}",
        "https://u:{}@a.blob.core.windows.net/",
        "https://a.blob.core.windows.net/?sv=1&sig={}",
        "https://a.blob.core.windows.net/c?sig={}&se=2",
        "http://u:{}@proxy:3128",
        "https://hooks.example/services/{}",
        "Server=h;User Id=u;Password={}",
        "host=h user=u password={}",
        "AccountName=a;AccountKey={};BlobEndpoint=http://127.0.0.1:1/a;QueueEndpoint=http://127.0.0.1:1/a",
        "BlobEndpoint=https://a.b/;QueueEndpoint=https://a.q/;SharedAccessSignature=sv=1&sig={}",
        "InstrumentationKey={};IngestionEndpoint=https://x/",
        "u:{}",
    ];
    const OTHERS: [&str; 14] = [
        "DATABASE_URL",
        "PIXCRAWLER_DATABASE_CREDENTIAL",
        "ChunkStorage",
        "ChunkStorage__blobServiceUri",
        "ChunkStorage__queueServiceUri",
        "ChunkStorage__clientId",
        "ChunkStorage__credential",
        "FUNCTIONS_CUSTOMHANDLER_PORT",
        "AzureFunctionsJobHost__functionTimeout",
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
        "RUST_LOG",
        "TMPDIR",
        "HTTPS_PROXY",
    ];
    let ours: Vec<String> = parse(&[]).unwrap().table.into_iter().map(|s| s.name).collect();
    let ours = ours.iter().map(String::as_str).filter(|name| name.starts_with("PIXCRAWLER_"));
    // It is sent to every stranger.
    let ours = ours.filter(|name| *name != "PIXCRAWLER_USER_AGENT");
    let names: Vec<&str> = ours.chain(OTHERS).collect();
    let mut random = fastrand::Rng::with_seed(11);
    for n in 0..8_000 {
        let name = names[random.usize(..names.len())];
        let form = FORMS[random.usize(..FORMS.len())];
        let value = form.replace("{}", &odd_secret(&mut random));
        let mut all: BTreeMap<String, String> =
            minimal().into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        if n % 2 == 0 && name.contains("ServiceUri") {
            for name in ["ChunkStorage__blobServiceUri", "ChunkStorage__queueServiceUri"] {
                all.insert(name.to_owned(), "https://a.blob.core.windows.net".to_owned());
            }
        }
        all.insert(name.to_owned(), value.clone());
        let said = match Settings::parse(Program::Handler, all, BTreeMap::new()) {
            Ok(settings) => format!("{settings:?} {:?} {:?}", settings.slips, settings.warnings),
            Err(violations) => format!("{violations:?}"),
        };
        assert!(!said.contains("hush"), "{name}={value}: {said}");
    }
}
