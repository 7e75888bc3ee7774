//! What a letter says.

use perseat_admin::identity::letters::Addressed;
use perseat_domain::account::Purpose;
use std::time::Duration;
use uuid::Uuid;

/// The words of a letter. Not printed: they hold its link.
pub(crate) struct Words {
    /// Names the letter; the same when it is sent again, so that whoever has it knows.
    pub(crate) id: Uuid,
    pub(crate) subject: String,
    pub(crate) body: String,
}

/// Writes a letter with this link.
pub(super) fn words(purpose: Purpose, addressed: &Addressed, url: &str, lifetime: Duration) -> Words {
    let organization = line(&addressed.organization);
    let place = match &addressed.customer {
        Some(customer) => format!("{} at {organization}", line(customer)),
        None => organization.clone(),
    };
    let (subject, why) = match purpose {
        Purpose::Invitation => (
            format!("Your invitation to {organization}"),
            format!("you are invited to the integrations of {place}. Choose a password here:"),
        ),
        Purpose::Reset => (
            format!("A new password for {organization}"),
            format!("another password was asked for, for your account of {place}. Choose it here:"),
        ),
    };
    let (name, within) = (line(&addressed.user.name), span(lifetime));
    let body = format!(
        "Hello {name},\n\n{why}\n\n{url}\n\nThe link works once, within {within}. Whoever has it can set your password, so do not pass it on.\n\
         If you did not expect this mail, leave it be: nothing changes.\n"
    );
    Words {
        id: Uuid::new_v4(),
        subject,
        body,
    }
}

/// A name on one line, as it is written: no name of a record adds lines of its own to a letter, or turns the order of its letters.
pub(crate) fn line(name: &str) -> String {
    let moves = |letter: char| matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    name.replace(|letter: char| letter.is_control() || moves(letter), " ")
}

/// A time as people say it.
pub(crate) fn span(time: Duration) -> String {
    let units = [("day", 24 * 60 * 60), ("hour", 60 * 60), ("minute", 60)];
    let seconds = time.as_secs().max(1);
    let found = units.into_iter().find(|(_, length)| seconds.is_multiple_of(*length));
    let (unit, length) = found.unwrap_or(("second", 1));
    let count = seconds / length;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::id::UserId;
    use perseat_domain::model::{Membership, Profile, Role, User};
    use secrecy::SecretString;

    fn addressed(name: &str, customer: Option<&str>) -> Addressed {
        Addressed {
            user: User {
                id: UserId(Uuid::from_u128(7)),
                membership: Membership::Organization,
                email: Some("ann@acme.example".to_owned()),
                name: name.to_owned(),
                external_id: None,
                subject: None,
                subject_seen_at: None,
                labels: Vec::new(),
                role: Role::Owner,
                profile: Profile::default(),
            },
            secret: SecretString::from("secret".to_owned()),
            organization: "Acme".to_owned(),
            customer: customer.map(str::to_owned),
        }
    }

    #[test]
    fn a_letter_names_whom_what_and_until_when() {
        let week = Duration::from_secs(7 * 24 * 60 * 60);
        let write = |purpose, customer| words(purpose, &addressed("Ann", customer), "https://perseat.example/x", week);
        let invitation = write(Purpose::Invitation, Some("Globex"));
        assert_eq!(invitation.subject, "Your invitation to Acme");
        for part in ["Hello Ann,", "of Globex at Acme.", "\nhttps://perseat.example/x\n", "within 7 days"] {
            assert!(invitation.body.contains(part), "{}", invitation.body);
        }
        assert!(write(Purpose::Reset, None).body.contains("your account of Acme."));
        assert_eq!(
            [3_600, 5_400, 61, 0].map(|seconds| span(Duration::from_secs(seconds))),
            ["1 hour", "90 minutes", "61 seconds", "1 second"]
        );
    }

    #[test]
    fn a_name_adds_no_lines() {
        let day = Duration::from_secs(24 * 60 * 60);
        let name = "Ann,\r\n\r\nhttps://evil.example/\r\n\u{2028}https://evil.example/\u{202e}";
        let letter = words(
            Purpose::Invitation,
            &addressed(name, Some("Glo\nbex")),
            "https://perseat.example/x",
            day,
        );
        assert!(!letter.body.contains(['\u{2028}', '\u{202e}']), "{}", letter.body);
        assert!(
            !letter
                .body
                .lines()
                .any(|line| line.starts_with("https://evil") || line.starts_with("bex")),
            "{}",
            letter.body
        );
        assert_eq!(letter.subject.lines().count(), 1);
    }
}
