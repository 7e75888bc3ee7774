//! From configuration keys to the options of each part, one function a part.
