// The library's version, for the files it writes. package.json says the same; a test compares them.

export const VERSION = "0.1.0" as const;
