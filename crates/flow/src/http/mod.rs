//! The `http` component: one request, its credential, its retries, its answer as data.
