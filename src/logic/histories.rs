//! Every history of so many facts, for the tests of machines: as a tree, so that what histories begin with happens once.

/// Calls `step` with a state and the history that leads to it, by number of fact; the last fact has not happened yet and is to
/// happen in that call. Whoever wants to see the end of a history looks whether it is `length` long.
pub(crate) fn each_history<S: Clone>(
    start: &S,
    facts: usize,
    length: usize,
    step: &mut impl FnMut(&mut S, &[usize]),
) {
    fn grow<S: Clone>(
        state: &S,
        (facts, length): (usize, usize),
        path: &mut Vec<usize>,
        step: &mut impl FnMut(&mut S, &[usize]),
    ) {
        for fact in 0..facts {
            path.push(fact);
            let mut next = state.clone();
            step(&mut next, path);
            if path.len() < length {
                grow(&next, (facts, length), path, step);
            }
            path.pop();
        }
    }
    grow(start, (facts, length), &mut Vec::with_capacity(length), step);
}

#[test]
fn each_is_met_once_and_has_all_that_led_to_it() {
    let mut met = Vec::new();
    each_history(&Vec::new(), 3, 3, &mut |state: &mut Vec<usize>, path| {
        state.push(*path.last().unwrap());
        assert_eq!(state, path);
        met.push(path.to_vec());
    });
    let ends: Vec<_> = met.iter().filter(|path| path.len() == 3).cloned().collect();
    assert_eq!((met.len(), ends.len()), (3 + 9 + 27, 27));
    assert_eq!(met.iter().collect::<std::collections::BTreeSet<_>>().len(), met.len());
}
