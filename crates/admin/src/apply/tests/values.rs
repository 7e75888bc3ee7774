//! How large values of configuration variables may be.

use super::*;

#[test]
fn values_beyond_what_one_or_all_of_a_configuration_may_take_are_refused() {
    let mut bench = Bench::new();
    (bench.limits.value, bench.limits.values) = (300, 400);
    let user = |folder: usize, token: usize| {
        JANE.replace("/jane", &"f".repeat(folder))
            .replace("jane-token-0001", &"t".repeat(token))
    };
    bench
        .apply(&[PEOPLE, INTEGRATION, INSTANCE, &user(300, 20)], ApplyOptions::default())
        .unwrap();
    for (folder, token, said) in [(301, 20, "`Folder` has 301 bytes"), (20, 301, "has 301 bytes"), (300, 300, "take ")] {
        let problems = bench.problems(&[&user(folder, token)]);
        assert!(problems.len() == 1 && problems[0].contains(said), "{problems:?}");
    }
    // What is too much by now may become less.
    bench.limits.values = 100;
    bench.apply(&[&user(299, 20)], ApplyOptions::default()).unwrap();
    assert!(bench.problems(&[&user(300, 20)])[0].contains("take "));
    // What is there may stay as it is.
    (bench.limits.value, bench.limits.values) = (10, 1_000);
    bench.apply(&[&user(299, 20)], ApplyOptions::default()).unwrap();
    assert!(bench.problems(&[&user(298, 20)])[0].contains("`Folder` has 298 bytes"));
    assert!(bench.problems(&[&user(299, 21)])[0].contains("has 21 bytes"));
}
