//! Who may do what: one table, and nothing else decides.
//!
//! People of the organization act on everything, people of a customer on their own customer alone; what is beyond that is not
//! denied but absent. `docs/permissions.md` shows the table, and a test keeps the two equal.

use perseat_domain::model::Role;
use std::fmt;

/// To which side a role belongs: `admin` exists on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The organization.
    Organization,
    /// A customer.
    Customer,
}

/// Every role, in the order of the table's columns.
pub const ROLES: [(Side, Role); 9] = [
    (Side::Organization, Role::Owner),
    (Side::Organization, Role::Admin),
    (Side::Organization, Role::Integrator),
    (Side::Organization, Role::Guest),
    (Side::Organization, Role::ThirdParty),
    (Side::Customer, Role::Admin),
    (Side::Customer, Role::Member),
    (Side::Customer, Role::MarketplaceAdmin),
    (Side::Customer, Role::MarketplaceUser),
];

macro_rules! operations {
    ($($(#[doc = $doc:literal])+ $name:ident = $words:literal $columns:literal;)+) => {
        /// What somebody wants to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Operation {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Operation {
            /// All of them, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            fn row(self) -> (&'static str, &'static [u8; 10]) {
                match self {
                    $(Self::$name => ($words, $columns),)+
                }
            }
        }
    };
}

// Columns: Owner, Admin, Integrator, Guest, Third party | Admin, Member, Marketplace admin, Marketplace user.
operations! {
    /// Customers' names, external ids, descriptions and labels.
    ViewCustomers = "view customers" b"xxxx-|xxxx";
    /// Create, change and delete customers.
    ManageCustomers = "manage customers" b"xxx--|----";
    /// Customers' users.
    ViewCustomerUsers = "view customer users" b"xxxx-|xx--";
    /// Create, change and delete customers' users.
    ManageCustomerUsers = "manage customer users" b"xxx--|x---";
    /// Documents that were attached to a customer.
    ViewAttachments = "view attachments" b"xxxx-|xx--";
    /// Attach documents to a customer, rename and remove them.
    ManageAttachments = "manage attachments" b"xxx--|x---";
    /// Integrations; customers see those of the marketplace and of their instances.
    ViewIntegrations = "view integrations" b"xxxx-|xxxx";
    /// Import, release, change and delete integrations.
    ManageIntegrations = "manage integrations" b"xxx--|----";
    /// Instances with their settings.
    ViewInstances = "view instances" b"xxxx-|xxx-";
    /// Executions, step results and log lines.
    ViewLogs = "view instance logs" b"xxxx-|xxx-";
    /// Executions, outbound calls and bytes that were counted.
    ViewUsage = "view usage" b"xxxx-|x---";
    /// Create, change, deploy, switch and delete instances.
    ConfigureInstances = "configure instances" b"xxx--|x-x-";
    /// Run a flow to try it.
    TestInstances = "test instances" b"xxx--|x-x-";
    /// One's own configuration of an instance.
    ConfigureUserLevel = "configure one's own user level configuration" b"xxx--|--xx";
    /// Whose users have configured an instance.
    ViewUserConfigs = "view user configurations" b"xxxx-|----";
    /// Other people's user configurations: remove them, and for the organization also write them.
    ManageUserConfigs = "manage user configurations" b"xxx--|x-x-";
    /// The components that flows are made of.
    ViewComponents = "view components" b"xxxx-|xxxx";
    /// The organization's name, users and roles.
    ViewOrganization = "view the organization" b"xxxx-|----";
    /// Change the organization itself.
    ManageOrganization = "manage the organization" b"x----|----";
    /// Create, change and delete the organization's users.
    ManageOrganizationUsers = "manage organization users" b"xx---|----";
    /// The keys that embedded users' tokens are signed with.
    ManageSigningKeys = "manage signing keys" b"xx---|----";
    /// Who changed what.
    ViewAudit = "view the audit" b"xx---|----";
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().0)
    }
}

/// Whether a role allows an operation, within what the side sees.
#[must_use]
pub fn allows(side: Side, role: Role, operation: Operation) -> bool {
    #[cfg(feature = "faults")]
    if crate::mutants::drops_operation(operation) {
        return true;
    }
    let columns = operation.row().1;
    let place = ROLES.iter().position(|column| *column == (side, role));
    place.is_some_and(|place| columns[place + usize::from(side == Side::Customer)] == b'x')
}

/// Whether `actor` may give somebody this role: nobody makes another more powerful than themselves.
#[must_use]
pub fn may_grant(actor: (Side, Role), granted: (Side, Role)) -> bool {
    #[cfg(feature = "faults")]
    if crate::mutants::drops_grant() {
        return true;
    }
    match (actor.0, granted.0) {
        (Side::Organization, Side::Customer) => true,
        (Side::Customer, Side::Organization) => false,
        (Side::Organization, Side::Organization) => actor.1 == Role::Owner || granted.1 != Role::Owner,
        (Side::Customer, Side::Customer) => actor.1 == Role::Admin,
    }
}

/// The table as a page.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Who may do what\n\n\
         People of the organization act on everything, people of a customer on their own customer alone. What lies beyond is not\n\
         denied but absent: nobody learns from an answer what exists elsewhere. Everybody may change their own name, telephone\n\
         number and avatar, and remove their own user configuration. Whoever sees somebody or something sees its avatar, and whoever\n\
         manages it changes it. Third-party users see nothing until something is granted to them.\n\n\
         To manage user configurations is, for a customer's people, to remove those of their customer's users, by id: they neither\n\
         see nor write another person's. Whoever may configure an instance for themselves without viewing instances knows its name\n\
         and whether it is on. Variables of an integration that the organization alone sets (`orgOnly`) are shown to its people\n\
         alone, their defaults included, and stay whatever a customer's people change; so do its connections and their app\n\
         registrations. A version in which the organization alone sets others than in the one before is its to choose. What an\n\
         integration is tried out with is the organization's, too.\n\n\
         Whoever sees an execution sees no more of the person on whose behalf it ran than of that person otherwise. For those who\n\
         may not see the person, `userName` is empty, requests, results and answers are withheld, and in log lines and errors `•••`\n\
         stands for the name and its words, e-mail address, external id, subject and telephone number. A text that a flow makes of\n\
         these in another way (cut or encoded) cannot be recognized: do not log it. Of a person who is gone nothing can be\n\
         recognized, and log lines are withheld, too. The URLs of a person's own endpoints are shown to those who may view user\n\
         configurations, and to that person.\n\n\
         | | Owner | Admin | Integrator | Guest | Third party | Customer admin | Member | Marketplace admin | Marketplace user |\n\
         |---|:-:|:-:|:-:|:-:|:-:|:-:|:-:|:-:|:-:|\n",
    );
    for operation in Operation::ALL {
        let name = operation.to_string();
        let mut letters = name.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
        page.push_str(&format!("| {first}{} |", letters.as_str()));
        for (side, role) in ROLES {
            page.push_str(if allows(side, role, *operation) { " x |" } else { " |" });
        }
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed 001, flattened there, as semantics §6 restores it.
    #[test]
    fn customer_roles_have_the_documented_matrix() {
        let matrix = [
            (Operation::ViewCustomerUsers, "xx--"),
            (Operation::ManageCustomerUsers, "x---"),
            (Operation::ViewInstances, "xxx-"),
            (Operation::ViewLogs, "xxx-"),
            (Operation::ConfigureInstances, "x-x-"),
            (Operation::TestInstances, "x-x-"),
            (Operation::ConfigureUserLevel, "--xx"),
            (Operation::ViewAttachments, "xx--"),
            (Operation::ManageAttachments, "x---"),
        ];
        for (operation, expected) in matrix {
            let found: String = ROLES[5..]
                .iter()
                .map(|(side, role)| if allows(*side, *role, operation) { 'x' } else { '-' })
                .collect();
            assert_eq!(found, expected, "{operation}");
        }
    }

    #[test]
    fn a_role_of_the_other_side_allows_nothing() {
        for operation in Operation::ALL {
            assert!(!allows(Side::Customer, Role::Owner, *operation), "{operation}");
            assert!(!allows(Side::Organization, Role::MarketplaceAdmin, *operation), "{operation}");
        }
    }
}
