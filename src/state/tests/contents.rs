//! Any model reads back as it was written, and garbage is refused.

use proptest::prelude::*;

use super::*;
use crate::pool::model::tests::any_model;

proptest! {
    #[test]
    fn any_model_reads_back_as_it_was_written(model in any_model()) {
        prop_assert_eq!(format::decode(&format::encode(&model, 5).unwrap()), Ok(model));
    }

    #[test]
    fn any_prefix_of_a_state_file_is_broken(model in any_model(), cut in any::<prop::sample::Index>()) {
        let whole = format::encode(&model, 5).unwrap();
        prop_assert!(format::decode(&whole[..cut.index(whole.len())]).is_err());
    }

    #[test]
    fn garbage_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
    ) {
        prop_assert!(format::decode(&garbage).is_err());
        // Somewhere in a whole file: whatever is still believed can be written again.
        let mut file = bytes(&model(1));
        let at = at.index(file.len());
        let end = file.len().min(at + garbage.len());
        file[at..end].copy_from_slice(&garbage[..end - at]);
        if let Ok(model) = format::decode(&file) {
            prop_assert!(format::encode(&model, 1).is_ok());
        }
    }
}
