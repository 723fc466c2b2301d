//! Which client a request is from, as far as an open canary wants to know.
//!
//! The pool says by what ([`crate::pool::Pool::sticky`]), a field or a cookie; here it is looked up in
//! the head. Only what goes on to the backend counts: a field that was taken out does not. A request
//! without it, or with an empty value, has no known client. If there are several, the first with a
//! value is it.

use super::http1::RequestHead;
use crate::pool::split::Draw;
use crate::spec::Sticky;

/// How the request is drawn to a side.
pub(super) fn draw(head: &RequestHead<'_, '_>, sticky: &Sticky) -> Draw {
    value(head, sticky).map_or_else(Draw::default, Draw::of_client)
}

fn value<'b>(head: &RequestHead<'_, 'b>, sticky: &Sticky) -> Option<&'b [u8]> {
    let has_value = |value: &&[u8]| !value.is_empty();
    match sticky {
        Sticky::Header(name) => head.values(name).map(<[u8]>::trim_ascii).find(has_value),
        Sticky::Cookie(name) => head
            .values("cookie")
            .flat_map(|field| cookies(field, name.as_bytes()))
            .find(has_value),
    }
}

/// The values of the cookies of this name in a `Cookie` field: pairs with `; ` between them (RFC 6265,
/// 5.4). Names are compared as they are; the quotes of a value belong to it.
fn cookies<'v>(field: &'v [u8], name: &[u8]) -> impl Iterator<Item = &'v [u8]> {
    field.split(|byte| *byte == b';').filter_map(move |pair| {
        let value = pair.trim_ascii().strip_prefix(name)?;
        value
            .trim_ascii_start()
            .strip_prefix(b"=")
            .map(<[u8]>::trim_ascii)
    })
}

#[cfg(test)]
mod tests {
    use super::super::http1::{Bounds, slots};
    use super::*;

    fn drawn(sticky: &str, fields: &str) -> Draw {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut slots = slots();
        let bounds = Bounds {
            fields_max: 100,
            target_bytes_max: 1024,
        };
        let head = RequestHead::parse(head.as_bytes(), &mut slots, &bounds).unwrap();
        draw(&head, &Sticky::parse(sticky).unwrap())
    }

    fn assert_known_by(sticky: &str, fields: &str, value: &str) {
        let expected = Draw::of_client(value.as_bytes());
        assert_eq!(drawn(sticky, fields), expected, "{fields:?}");
    }

    fn assert_unknown(sticky: &str, fields: &str) {
        assert_eq!(drawn(sticky, fields), Draw::default(), "{fields:?}");
    }

    #[test]
    fn a_client_is_known_by_the_first_value_of_the_field() {
        for fields in [
            "X-User: 17\r\n",
            "x-uSER:\t 17 \t\r\n",
            "X-User:\r\nX-Use: 1\r\nX-User: 17\r\nX-User: 18\r\n",
        ] {
            assert_known_by("header:X-User", fields, "17");
        }
        assert_known_by("header:x-user", "X-User: a b, c\r\n", "a b, c");
        for fields in [
            "",
            "X-User:\r\n",
            "X-Users: 17\r\n",
            "Cookie: X-User=17\r\n",
        ] {
            assert_unknown("header:X-User", fields);
        }
    }

    #[test]
    fn a_client_is_known_by_its_cookie() {
        for fields in [
            "Cookie: sid=abc\r\n",
            "cookie: a=1; sid=abc; b=2\r\n",
            "Cookie: a=1;sid=abc;b=2\r\n",
            "Cookie: a=1\r\nAccept: */*\r\nCookie: b=2; sid=abc\r\n",
            "Cookie: ;; sid = abc ;\r\n",
            "Cookie: sid=; sid=abc; sid=def\r\n",
            "Cookie: xsid=1; sid2=2; sid; SID=3; a=sid=4; sid=abc\r\n",
        ] {
            assert_known_by("cookie:sid", fields, "abc");
        }
        assert_known_by("cookie:sid", "Cookie: sid=a=b\r\n", "a=b");
        assert_known_by("cookie:sid", "Cookie: sid=\"abc\"\r\n", "\"abc\"");
        for fields in [
            "",
            "Cookie:\r\n",
            "Cookie: SID=abc\r\n",
            "Cookie: sid\r\n",
            "Cookie: sid=\r\n",
            "Cookie: sid =\t; a=sid=1\r\n",
            "sid: abc\r\n",
        ] {
            assert_unknown("cookie:sid", fields);
        }
    }

    /// The app would not see it either.
    #[test]
    fn a_field_that_does_not_go_on_says_nothing() {
        assert_unknown("header:x-user", "Connection: x-user\r\nX-User: 17\r\n");
        assert_unknown("header:x_user", "X_User: 17\r\n");
        assert_unknown("cookie:sid", "Connection: cookie\r\nCookie: sid=abc\r\n");
    }
}
