//! The words of the format: values that are one of a few.

use super::read::words;

words! {
    /// Which URLs.
    EndpointWord("an endpoint type") {
        /// Default.
        #[default]
        FlowSpecific = "flow_specific",
        /// One per instance.
        InstanceSpecific = "instance_specific",
        /// One for all.
        SharedInstance = "shared_instance",
    }
    /// Who shows a key.
    SecurityWord("an endpoint security type") {
        /// Nobody.
        Unsecured = "unsecured",
        /// Default.
        #[default]
        CustomerOptional = "customer_optional",
        /// Always.
        CustomerRequired = "customer_required",
        /// With keys of the definition.
        Organization = "organization",
    }
    /// What stands on a page.
    ElementWord("a kind of element") {
        /// A variable.
        #[default]
        ConfigVar = "configVar",
        /// HTML.
        HtmlElement = "htmlElement",
        /// A form.
        JsonForm = "jsonForm",
    }
    /// Kinds of values.
    DataTypeWord("a data type") {
        /// Text.
        #[default]
        String = "string",
        /// A date.
        Date = "date",
        /// A point in time.
        Timestamp = "timestamp",
        /// One of a list.
        Picklist = "picklist",
        /// A schedule.
        Schedule = "schedule",
        /// Code.
        Code = "code",
        /// A flag.
        Boolean = "boolean",
        /// A number.
        Number = "number",
        /// Objects.
        ObjectSelection = "objectSelection",
        /// Fields.
        ObjectFieldMap = "objectFieldMap",
        /// A form.
        JsonForm = "jsonForm",
        /// A credential.
        Connection = "connection",
        /// A credential of old.
        Credential = "credential",
    }
    /// How a schedule is made.
    ScheduleWord("a schedule type") {
        /// Never.
        #[default]
        None = "none",
        /// Once.
        Once = "once",
        /// By cron.
        Custom = "custom",
        /// By minutes.
        Minute = "minute",
        /// By hours.
        Hour = "hour",
        /// By days.
        Day = "day",
        /// By weeks.
        Week = "week",
    }
    /// Languages.
    CodeWord("a language") {
        /// JSON.
        #[default]
        Json = "json",
        /// XML.
        Xml = "xml",
        /// HTML.
        Html = "html",
    }
    /// Lists and pairs.
    CollectionWord("a collection type") {
        /// A list.
        #[default]
        ValueList = "valuelist",
        /// Pairs.
        KeyValueList = "keyvaluelist",
    }
    /// Agents on premises.
    OnPremiseWord("an on-premise setting") {
        /// If wanted.
        Allowed = "allowed",
        /// Never.
        #[default]
        Disallowed = "disallowed",
        /// Always.
        Required = "required",
    }
    /// Events for users without configuration.
    MissingWord("a way to treat events") {
        /// Answered with an error.
        #[default]
        Reject = "reject",
        /// Kept until the user connects.
        Park = "park",
    }
    /// Queues.
    QueueWord("a kind of queue") {
        /// None.
        #[default]
        Parallel = "parallel",
        /// So many at a time.
        Throttled = "throttled",
        /// One at a time.
        Sequential = "sequential",
    }
    /// Where a schedule stands.
    SourceWord("a source") {
        /// In the definition.
        #[default]
        Value = "value",
        /// In a variable.
        ConfigVar = "configVar",
    }
    /// After a failure.
    HandlerWord("a way to treat errors") {
        /// Ends.
        #[default]
        Fail = "fail",
        /// Goes on.
        Ignore = "ignore",
        /// Tries again.
        Retry = "retry",
    }
    /// Kinds of inputs.
    InputWord("a kind of input") {
        /// A literal.
        #[default]
        Value = "value",
        /// A variable.
        ConfigVar = "configVar",
        /// A path.
        Reference = "reference",
        /// Text with paths in it.
        Template = "template",
        /// A list.
        Complex = "complex",
        /// The choices of a data source.
        DataSource = "dataSource",
    }
}
