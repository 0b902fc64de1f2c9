//! The stock types of PostgreSQL by object ID: their names, and how their values are decoded.
//!
//! Only IDs below 10,000 are fixed: `initdb` and `CREATE TYPE` assign others dynamically ("OID Assignment", in the documentation
//! of the system catalogs). So enums, arrays of domains, and types of extensions are not included.

/// How the values of a type are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text is a string; the binary format is not known.
    Opaque,
    Text,
    /// The one-byte type written `"char"`.
    Char,
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Xid8,
    Float4,
    Float8,
    Numeric,
    Money,
    /// An object, by its name in text format, or by its ID.
    Reg,
    /// Like `Reg`, but `-` is a name: of an operator.
    RegOperator,
    Bytea,
    Json,
    Jsonb,
    Jsonpath,
    Xml,
    Uuid,
    Date,
    Time,
    Timetz,
    Timestamp,
    Timestamptz,
    Interval,
    Inet,
    Cidr,
    Macaddr,
    Bit,
    Tid,
    Lsn,
    Snapshot,
    Point,
    Line,
    Lseg,
    Box,
    Path,
    Polygon,
    Circle,
    Tsvector,
    Tsquery,
    /// An array with elements of this type; 0 if only the binary format contains the type.
    Array(u32),
    /// An array of one dimension, written as `1 2 3`.
    Vector(u32),
    Range(u32),
    /// A multirange with ranges over this type.
    Multirange(u32),
    Record,
}

/// Defines a row for each type: its ID, its name, its kind, and the ID of its array type, if it has one.
macro_rules! stock_types {
    ($($oid:literal $name:literal $kind:ident $(($of:literal))? $(, $array:literal)?;)*) => {
        /// Returns the name of a type in `pg_type`, and how its values are decoded.
        pub(super) const fn stock(oid: u32) -> Option<(&'static str, Kind)> {
            match oid {
                $(
                    $oid => Some(($name, Kind::$kind $(($of))?)),
                    $($array => Some((concat!("_", $name), Kind::Array($oid))),)?
                )*
                _ => None,
            }
        }
    };
}

stock_types! {
    16 "bool" Bool, 1000;
    17 "bytea" Bytea, 1001;
    18 "char" Char, 1002;
    19 "name" Text, 1003;
    20 "int8" Int8, 1016;
    21 "int2" Int2, 1005;
    22 "int2vector" Vector(21), 1006;
    23 "int4" Int4, 1007;
    24 "regproc" Reg, 1008;
    25 "text" Text, 1009;
    26 "oid" Oid, 1028;
    27 "tid" Tid, 1010;
    28 "xid" Oid, 1011;
    29 "cid" Oid, 1012;
    30 "oidvector" Vector(26), 1013;
    32 "pg_ddl_command" Opaque;
    71 "pg_type" Record, 210;
    75 "pg_attribute" Record, 270;
    81 "pg_proc" Record, 272;
    83 "pg_class" Record, 273;
    114 "json" Json, 199;
    142 "xml" Xml, 143;
    194 "pg_node_tree" Text;
    269 "table_am_handler" Opaque;
    325 "index_am_handler" Opaque;
    600 "point" Point, 1017;
    601 "lseg" Lseg, 1018;
    602 "path" Path, 1019;
    603 "box" Box, 1020;
    604 "polygon" Polygon, 1027;
    628 "line" Line, 629;
    650 "cidr" Cidr, 651;
    700 "float4" Float4, 1021;
    701 "float8" Float8, 1022;
    705 "unknown" Text;
    718 "circle" Circle, 719;
    774 "macaddr8" Macaddr, 775;
    790 "money" Money, 791;
    829 "macaddr" Macaddr, 1040;
    869 "inet" Inet, 1041;
    1033 "aclitem" Opaque, 1034;
    1042 "bpchar" Text, 1014;
    1043 "varchar" Text, 1015;
    1082 "date" Date, 1182;
    1083 "time" Time, 1183;
    1114 "timestamp" Timestamp, 1115;
    1184 "timestamptz" Timestamptz, 1185;
    1186 "interval" Interval, 1187;
    1248 "pg_database" Record;
    1266 "timetz" Timetz, 1270;
    1560 "bit" Bit, 1561;
    1562 "varbit" Bit, 1563;
    1700 "numeric" Numeric, 1231;
    1790 "refcursor" Text, 2201;
    2202 "regprocedure" Reg, 2207;
    2203 "regoper" RegOperator, 2208;
    2204 "regoperator" RegOperator, 2209;
    2205 "regclass" Reg, 2210;
    2206 "regtype" Reg, 2211;
    2249 "record" Record, 2287;
    2275 "cstring" Text, 1263;
    2276 "any" Opaque;
    2277 "anyarray" Array(0);
    2278 "void" Text;
    2279 "trigger" Opaque;
    2280 "language_handler" Opaque;
    2281 "internal" Opaque;
    2283 "anyelement" Opaque;
    2776 "anynonarray" Opaque;
    2842 "pg_authid" Record;
    2843 "pg_auth_members" Record;
    2950 "uuid" Uuid, 2951;
    2970 "txid_snapshot" Snapshot, 2949;
    3115 "fdw_handler" Opaque;
    3220 "pg_lsn" Lsn, 3221;
    3310 "tsm_handler" Opaque;
    3361 "pg_ndistinct" Opaque;
    3402 "pg_dependencies" Opaque;
    3500 "anyenum" Opaque;
    3614 "tsvector" Tsvector, 3643;
    3615 "tsquery" Tsquery, 3645;
    3642 "gtsvector" Opaque, 3644;
    3734 "regconfig" Reg, 3735;
    3769 "regdictionary" Reg, 3770;
    3802 "jsonb" Jsonb, 3807;
    3831 "anyrange" Opaque;
    3838 "event_trigger" Opaque;
    3904 "int4range" Range(23), 3905;
    3906 "numrange" Range(1700), 3907;
    3908 "tsrange" Range(1114), 3909;
    3910 "tstzrange" Range(1184), 3911;
    3912 "daterange" Range(1082), 3913;
    3926 "int8range" Range(20), 3927;
    4066 "pg_shseclabel" Record;
    4072 "jsonpath" Jsonpath, 4073;
    4089 "regnamespace" Reg, 4090;
    4096 "regrole" Reg, 4097;
    4191 "regcollation" Reg, 4192;
    4451 "int4multirange" Multirange(23), 6150;
    4532 "nummultirange" Multirange(1700), 6151;
    4533 "tsmultirange" Multirange(1114), 6152;
    4534 "tstzmultirange" Multirange(1184), 6153;
    4535 "datemultirange" Multirange(1082), 6155;
    4536 "int8multirange" Multirange(20), 6157;
    4537 "anymultirange" Opaque;
    4538 "anycompatiblemultirange" Opaque;
    4600 "pg_brin_bloom_summary" Opaque;
    4601 "pg_brin_minmax_multi_summary" Opaque;
    5017 "pg_mcv_list" Opaque;
    5038 "pg_snapshot" Snapshot, 5039;
    5069 "xid8" Xid8, 271;
    5077 "anycompatible" Opaque;
    5078 "anycompatiblearray" Opaque;
    5079 "anycompatiblenonarray" Opaque;
    5080 "anycompatiblerange" Opaque;
    6101 "pg_subscription" Record;
    6437 "oid8" Xid8, 6442;
    6490 "regdatabase" Reg, 6491;
}

impl Kind {
    /// Returns how the values of a type are decoded.
    #[inline]
    pub(super) fn of(oid: u32) -> Self {
        match KINDS.get(oid as usize) {
            Some(kind) => *kind,
            None => Self::of_any(oid),
        }
    }

    const fn of_any(oid: u32) -> Self {
        match stock(oid) {
            Some((_, kind)) => kind,
            None => Self::Opaque,
        }
    }
}

/// The kinds of the most frequent types, indexed by object ID, because this is looked up for each value.
static KINDS: [Kind; 4096] = {
    let mut kinds = [Kind::Opaque; 4096];
    let mut rest = kinds.as_mut_slice();
    let mut oid = 0;
    while let Some((kind, behind)) = rest.split_first_mut() {
        *kind = Kind::of_any(oid);
        rest = behind;
        oid += 1;
    }
    kinds
};
