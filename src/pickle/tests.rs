use super::*;

fn refusal(pickle: &[u8]) -> String {
    Pickle::read(pickle, &["collections.OrderedDict"]).unwrap_err()
}

/// `pickle.dumps({"a": [1, -2, 300, 70000, 1 << 40], b"b": (None, True, 1.5)}, protocol)`; the first by Python 2.
#[test]
fn objects_are_read_in_every_protocol() {
    let dumps: [&[u8]; 3] = [
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01eU\x01bN\x88G?\xf8\x00\x00\x00\x00\x00\x00\x87q\x06u.",
        b"\x80\x03}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01eC\x01bq\x03N\x88G?\xf8\x00\x00\x00\x00\x00\x00\x87q\x04u.",
        b"\x80\x04\x955\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01eC\x01b\x94N\x88G?\xf8\x00\x00\x00\x00\x00\x00\x87\x94u.",
    ];
    for dump in dumps {
        let pickle = Pickle::read(dump, &[]).unwrap();
        let list = pickle.items(pickle.value(pickle.top(), "a").unwrap()).unwrap();
        let ints: Vec<i64> = list.iter().map(|&item| pickle.int(item).unwrap()).collect();
        assert_eq!(ints, [1, -2, 300, 70000, 1 << 40]);
        let tuple = pickle.items(pickle.value(pickle.top(), "b").unwrap()).unwrap();
        let objects: Vec<&Object> = tuple.iter().map(|&item| pickle.object(item)).collect();
        assert_eq!(objects, [&Object::None, &Object::Bool(true), &Object::Float(1.5)]);
        assert_eq!(pickle.value(pickle.top(), "c"), None);
    }
}

#[test]
fn calls_are_recorded_or_refused_by_their_names() {
    let message = refusal(b"\x80\x02cos\nsystem\nq\x00X\x04\x00\x00\x00trueq\x01\x85q\x02Rq\x03.");
    assert!(message.contains("the pickle calls os.system, which is not executed"), "{message}");
    let message = refusal(b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94\x93\x94\x8c\x011\x94\x85\x94\x81\x94.");
    assert!(message.contains("calls builtins.eval"), "{message}");
    // An instruction that makes an instance of any class.
    assert!(refusal(b"(ios\nsystem\n.").contains("instruction 0x69"));
    let ordered =
        Pickle::read(b"\x80\x02ccollections\nOrderedDict\n)RX\x01\x00\x00\x00aK\x07s.", &["collections.OrderedDict"]);
    let ordered = ordered.unwrap();
    assert_eq!(ordered.int(ordered.value(ordered.top(), "a").unwrap()), Some(7));
}

/// Pickles of `numpy.array([[1, 2, 3], [4, 5, 255]], "uint8")` in the protocols 2 (of Python 2 and of Python 3), 4 and 5.
#[test]
fn arrays_are_read_however_they_were_written() {
    let dumps: [&[u8]; 4] = [
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x04U\x02u1K\x00K\x01\x87Rq\x05(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06\x01\x02\x03\x04\x05\xfftb.",
        b"\x80\x02cnumpy._core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85q\x02c_codecs\nencode\nq\x03X\x01\x00\x00\x00bq\x04X\x06\x00\x00\x00latin1q\x05\x86q\x06Rq\x07\x87q\x08Rq\t(K\x01K\x02K\x03\x86q\ncnumpy\ndtype\nq\x0bX\x02\x00\x00\x00u1q\x0c\x89\x88\x87q\rRq\x0e(K\x03X\x01\x00\x00\x00|q\x0fNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x10b\x89h\x03X\x07\x00\x00\x00\x01\x02\x03\x04\x05\xc3\xbfq\x11h\x05\x86q\x12Rq\x13tq\x14b.",
        b"\x80\x04\x95\x91\x00\x00\x00\x00\x00\x00\x00\x8c\x16numpy._core.multiarray\x94\x8c\x0c_reconstruct\x94\x93\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\x00\x85\x94C\x01b\x94\x87\x94R\x94(K\x01K\x02K\x03\x86\x94h\x03\x8c\x05dtype\x94\x93\x94\x8c\x02u1\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94b\x89C\x06\x01\x02\x03\x04\x05\xff\x94t\x94b.",
        b"\x80\x05\x95|\x00\x00\x00\x00\x00\x00\x00\x8c\x13numpy._core.numeric\x94\x8c\x0b_frombuffer\x94\x93\x94(\x96\x06\x00\x00\x00\x00\x00\x00\x00\x01\x02\x03\x04\x05\xff\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02u1\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01|\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94bK\x02K\x03\x86\x94\x8c\x01C\x94t\x94R\x94.",
    ];
    for dump in dumps {
        let pickle = Pickle::read(dump, &Array::CALLS).unwrap();
        let array = pickle.array(pickle.top()).unwrap();
        assert_eq!((&array.dims[..], array.kind.as_str()), (&[2, 3][..], "u1"));
        assert_eq!(array.bytes[..], [1, 2, 3, 4, 5, 255]);
        for length in 0..dump.len() - 1 {
            Pickle::read(&dump[..length], &Array::CALLS).unwrap_err();
        }
    }
}

#[test]
fn damaged_pickles_are_refused_in_one_line() {
    for pickle in [
        &b""[..],
        b".",
        b"t.",
        b"R.",
        b"Q.",
        b"h\x05.",
        b"\x87.",
        b"\x8a\xff.",
        b"K\x01K\x02K\x03s.",
        b"K\x01K\x02a.",
        b"X\xff\xff\xff\xff.",
    ] {
        let message = refusal(pickle);
        assert!(!message.contains('\n'), "{message}");
    }
    assert!(refusal(&[b'N'; 5 << 20]).contains("more than 4194304 objects"));
}
