//! A flow's steps as nodes that know their successor.

use crate::definition::{ActionRef, Flow, Step};

/// Index of a node in its [`Plan`].
pub type NodeIndex = usize;

/// What its action makes of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nature {
    /// Whether it may send bytes: everything before it is made durable first.
    pub is_outbound: bool,
    /// Whether the execution ends with it, unless it fails.
    pub is_stop: bool,
}

/// One step with its place in the flow.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it stands: indexes joined by `.`; `2.b1.0` is the first step of branch 1 of step 2.
    pub path: String,
    /// The step, without its nested steps.
    pub step: Step,
    /// What its action makes of it.
    pub nature: Nature,
    /// What follows it; `None` at the end of the flow.
    pub next: Option<NodeIndex>,
    /// For branching steps: what each branch begins with (the follower, if the branch is empty).
    pub branches: Vec<(String, Option<NodeIndex>)>,
}

/// A flow made ready to run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    nodes: Vec<Node>,
    first: Option<NodeIndex>,
}

impl Plan {
    /// Compiles the steps after the trigger.
    pub fn compile(flow: &Flow, nature_of: &dyn Fn(&ActionRef) -> Nature) -> Self {
        let mut plan = Self::default();
        plan.first = plan.add_list(&flow.steps, "", None, nature_of);
        plan
    }

    /// Adds a list of steps whose last is followed by `after`; gives the first one's index, or `after` if it is empty.
    fn add_list(
        &mut self,
        steps: &[Step],
        prefix: &str,
        after: Option<NodeIndex>,
        nature_of: &dyn Fn(&ActionRef) -> Nature,
    ) -> Option<NodeIndex> {
        let mut follower = after;
        for (index, step) in steps.iter().enumerate().rev() {
            let path = format!("{prefix}{index}");
            let branches = step
                .branches
                .iter()
                .enumerate()
                .map(|(number, branch)| {
                    let first = self.add_list(&branch.steps, &format!("{path}.b{number}."), follower, nature_of);
                    (branch.name.clone(), first)
                })
                .collect();
            let bare = Step {
                branches: Vec::new(),
                body: Vec::new(),
                ..step.clone()
            };
            self.nodes.push(Node {
                path,
                step: bare,
                nature: nature_of(&step.action),
                next: follower,
                branches,
            });
            follower = Some(self.nodes.len() - 1);
        }
        follower
    }

    /// The first step, if there is one.
    #[must_use]
    pub fn first(&self) -> Option<NodeIndex> {
        self.first
    }

    /// The node at an index that this plan gave out.
    #[must_use]
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index]
    }

    /// The node at a path.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.path == path)
    }

    /// What follows a node once it chose a branch, or none.
    #[must_use]
    pub fn follower(&self, index: NodeIndex, branch: Option<&str>) -> Option<NodeIndex> {
        let node = self.node(index);
        match branch {
            Some(name) => node
                .branches
                .iter()
                .find(|(branch, _)| branch == name)
                .map_or(node.next, |(_, first)| *first),
            None => node.next,
        }
    }
}
