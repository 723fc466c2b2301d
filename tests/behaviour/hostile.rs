//! Hostile heads: whatever two readers could understand differently is refused, the connection is
//! closed, and no backend sees any of it, nor of what was sent behind it.

use crate::support::refusal::{BEHIND, refused_unseen, witnessed};

/// A head with this request line and a good host.
fn with_line(line: impl AsRef<[u8]>) -> Vec<u8> {
    [line.as_ref(), b"\r\nHost: a.test\r\n\r\n"].concat()
}

/// A head with this line among its fields.
pub fn with_field(field: impl AsRef<[u8]>) -> Vec<u8> {
    [
        b"GET /x HTTP/1.1\r\nHost: a.test\r\n",
        field.as_ref(),
        b"\r\nX-Last: 1\r\n\r\n",
    ]
    .concat()
}

/// A head with these lines as its only fields.
pub fn with_only(fields: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET /x HTTP/1.1\r\n", fields.as_ref(), b"\r\n\r\n"].concat()
}

#[tokio::test]
async fn versions_other_than_1_0_and_1_1_are_refused() {
    let versions = [
        "HTTP/1.2",
        "HTTP/1.9",
        "HTTP/0.9",
        "HTTP/2.0",
        "HTTP/2",
        "HTTP/3.0",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/",
        "HTTP",
        "HTTP/1.1.1",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1.01",
        "http/1.1",
        "Http/1.1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP/1 .1",
        "HTTPS/1.1",
        "HTTP\\1.1",
        "HTTP-1.1",
        "HTTP/1,1",
        "HTTP/1.1x",
        "xHTTP/1.1",
        "HTTP/+1.1",
        "HTTP/1.1 ",
        "HTTP/1.1\t",
        "HTTP/1.1 x",
        "HTTP/a.b",
        "ICY/1.1",
        "HTTP/1.1;x",
        "\"HTTP/1.1\"",
    ];
    let cases = versions.map(|version| with_line(format!("GET /x {version}")));
    refused_unseen(400, cases).await;
}

#[tokio::test]
async fn request_lines_that_are_not_three_words_are_refused() {
    let mut cases: Vec<Vec<u8>> = [
        "GET /x",
        "GET /x ",
        "GET",
        "GET ",
        "/x HTTP/1.1",
        " /x HTTP/1.1",
        "GET HTTP/1.1",
        "GET  HTTP/1.1",
        "GET  /x HTTP/1.1",
        "GET /x  HTTP/1.1",
        "GET /x y HTTP/1.1",
        "GET /x HTTP/1.1 HTTP/1.1",
        " GET /x HTTP/1.1",
        "\tGET /x HTTP/1.1",
        "GET\t/x HTTP/1.1",
        "GET /x\tHTTP/1.1",
        "GET\t/x\tHTTP/1.1",
        "GET\x0b/x HTTP/1.1",
        "GET /x\x0cHTTP/1.1",
        "GET\r/x HTTP/1.1",
        "GET /x\rHTTP/1.1",
        "\0GET /x HTTP/1.1",
        "nonsense",
        ":",
        "GET: /x HTTP/1.1",
        "HTTP/1.1 200 OK",
        "Host: a.test",
        "\u{feff}GET /x HTTP/1.1",
        "GET\u{a0}/x HTTP/1.1",
    ]
    .map(with_line)
    .into();
    cases.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec());
    // The first bytes of TLS, and of a protocol that puts an address before the request.
    cases.push(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec());
    cases.push(
        [
            &b"PROXY TCP4 6.6.6.6 1.1.1.1 1 2\r\n"[..],
            &with_line("GET /x HTTP/1.1"),
        ]
        .concat(),
    );
    refused_unseen(400, cases).await;
}

#[tokio::test]
async fn methods_that_are_no_tokens_are_refused() {
    let methods: [&[u8]; 20] = [
        b"G(T",
        b"G)T",
        b"G@T",
        b"G,T",
        b"G;T",
        b"G:T",
        b"G/T",
        b"G[T]",
        b"G?T",
        b"G=T",
        b"{GET}",
        b"\"GET\"",
        b"<GET>",
        b"G\\T",
        b"G\0T",
        b"G\x01T",
        b"G\x7fT",
        b"G\x80T",
        b"G\xc3\x89T",
        b"GET\r",
    ];
    let cases = methods.map(|method| with_line([method, b" /x HTTP/1.1"].concat()));
    refused_unseen(400, cases).await;
}

#[tokio::test]
async fn targets_with_bytes_that_are_none_of_a_target_are_refused() {
    let targets: [&[u8]; 15] = [
        b"/x\0",
        b"/\x01x",
        b"/x\x08",
        b"/x\x1b[0m",
        b"/x\x7f",
        b"/x\x80",
        b"/\xc3\xa9",
        b"/\xff",
        b"/x\ty",
        b"/x\x0by",
        b"/x\x0cy",
        b"/x\ry",
        b"/x#frag",
        b"/#",
        b"/x?y#z",
    ];
    let cases = targets.map(|target| with_line([b"GET ", target, b" HTTP/1.1"].concat()));
    refused_unseen(400, cases).await;
}

#[tokio::test]
async fn targets_of_other_forms_are_refused() {
    let targets = [
        "x",
        "x/y",
        "?q",
        "./x",
        "../x",
        "*",
        "*/x",
        "a.test",
        "a.test:80",
        "a.test/x",
        ":80",
        "@a.test/",
        "\\x",
        "\\\\a.test\\x",
        ";/x",
        "http:",
        "http:/",
        "http:/x",
        "http:x",
        "http://",
        "http:///x",
        "http://?q",
        "http://:80/x",
        "http://u@a.test/x",
        "http://u:p@a.test/x",
        "http://@a.test/x",
        "http://a.test@b.test/x",
        "http://a.test,b.test/x",
        "http://a.test:x/",
        "http://a.test:99999/",
        "http://a.test:-1/",
        "http://a.test:80:80/",
        "http://[::1/",
        "http://::1/",
        "http://[a.test]/",
        "http://a.test\\@b.test/",
        "http://a.test#x",
        "http://a.test/#x",
        "javascript:alert(1)",
        "mailto:a@a.test",
        "://a.test/",
        "1http://a.test/",
    ];
    let cases = targets.map(|target| with_line(format!("GET {target} HTTP/1.1")));
    refused_unseen(400, cases).await;
}

#[tokio::test]
async fn an_absolute_target_that_names_another_host_is_refused() {
    let targets = [
        "http://b.test/",
        "http://b.test/x",
        "http://a.test.b.test/",
        "http://a.tes/",
        "http://a.test:81/",
        "http://A.TEST.:1/",
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://b.test?a.test",
        "http://b.test:80/http://a.test/",
    ];
    let cases = targets.map(|target| with_line(format!("GET {target} HTTP/1.1")));
    refused_unseen(400, cases).await;
}

#[tokio::test]
async fn connect_is_refused_with_what_is_allowed() {
    let cases = ["CONNECT a.test:443 HTTP/1.1", "CONNECT a.test:80 HTTP/1.1"].map(with_line);
    refused_unseen(405, cases).await;
    let (_witness, proxy) = witnessed().await;
    let mut client = proxy.client().await;
    let answer = client.ask(with_line("CONNECT a.test:443 HTTP/1.1")).await;
    let allowed = answer.field("allow").unwrap();
    assert!(
        allowed.contains("GET") && !allowed.contains("CONNECT"),
        "{allowed}"
    );
    // In another case it is another method, with a target that is none.
    refused_unseen(400, [with_line("connect a.test:443 HTTP/1.1")]).await;
}

#[tokio::test]
async fn heads_past_a_bound_are_refused_also_when_they_never_end() {
    let long = |bytes: usize| "x".repeat(bytes);
    let cases = [
        with_line(format!("GET /{} HTTP/1.1", long(8 * 1024))),
        with_line(format!("GET /?{} HTTP/1.1", long(20 * 1024))),
        with_field(format!("X: {}", long(33 * 1024))),
        with_field("A: 1\r\n".repeat(100) + "B: 1"),
        with_field("A:\r\n".repeat(250) + "B:"),
        with_field("A:\r\n".repeat(1000) + "B:"),
        format!("GET /{}", long(64 * 1024)).into(),
        format!("GET /x HTTP/1.1\r\nHost: a.test\r\nX: {}", long(64 * 1024)).into(),
        format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{}", long(64 * 1024)).into(),
        format!(
            "GET /x HTTP/1.1\r\nHost: a.test\r\n{}",
            "A: 1\r\n".repeat(8 * 1024)
        )
        .into(),
    ];
    refused_unseen(431, cases).await;
}

/// What is odd but sound is no reason to refuse.
#[tokio::test]
async fn heads_that_are_odd_but_sound_pass() {
    let (_witness, proxy) = witnessed().await;
    let long = "x".repeat(8 * 1024 - 1);
    let cases = [
        with_line("GET /x HTTP/1.0"),
        b"GET /x HTTP/1.0\r\n\r\n".to_vec(),
        with_line("OPTIONS * HTTP/1.1"),
        with_line("GET http://a.test/x HTTP/1.1"),
        with_line("GET http://a.test HTTP/1.1"),
        with_line("GET HTTP://A.Test/x HTTP/1.1"),
        with_line("g.e.t /x HTTP/1.1"),
        with_line(format!("GET /{long} HTTP/1.1")),
        with_field("X:"),
        with_field("X:1"),
        with_field("X: \t 1 \t "),
        with_field("X: a\tb"),
        with_field("X:::"),
        with_field("!#$%&'*+-.^_`|~: 1"),
        with_field("9: 1"),
        with_field(b"X: \x80\xff"),
        with_field("A: 1\r\n".repeat(97) + "B: 1"),
        with_only("hOsT: A.Test:8080"),
        with_only("Host:a.test"),
        with_only("Host: [::1]"),
        with_only("Host: [::1]:80"),
        with_only("Host: 127.0.0.1:80"),
        with_only("Host: a_b.test"),
        with_only("Host: xn--e1afmkfd.test."),
    ];
    let mut wrong = Vec::new();
    for raw in cases {
        let answer = proxy.client().await.ask(&raw).await;
        if answer.text() != "witnessed" {
            let shown = raw[..raw.len().min(200)].escape_ascii().to_string();
            wrong.push(format!("{shown}: {}", answer.start));
        }
    }
    assert!(wrong.is_empty(), "refused:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_good_request_before_a_bad_one_is_answered_and_the_bad_one_refused() {
    let (witness, proxy) = witnessed().await;
    let mut client = proxy.client().await;
    let bad = with_field("Content-Length: 1\r\nTransfer-Encoding: chunked");
    client.send([BEHIND, BEHIND, &bad, BEHIND].concat()).await;
    for _ in 0..2 {
        assert_eq!(client.answer().await.text(), "witnessed");
    }
    let refused = client.answer().await;
    assert_eq!(refused.verdict(), (400, Some("bad_request")));
    assert_eq!(client.end().await.0, b"", "nothing is answered behind it");
    assert_eq!(witness.take().complete.len(), 2);
}
