// Judges Sigstore bundles with Sigstore's own verifier for Node, for tests/interop/test_sigstore_verify.py.
// On standard input a list of cases: {bundle, key} with the key's DER in base64, or {bundle, trustedRoot, identity},
// and `artifact` (base64) when the bundle signs bytes and not a statement. On standard output a verdict for each.
const { bundleFromJSON } = require("@sigstore/bundle");
const { PublicKeyDetails, TrustedRoot } = require("@sigstore/protobuf-specs");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const NOTHING = { mediaType: "", tlogs: [], certificateAuthorities: [], ctlogs: [], timestampAuthorities: [] };

function judge(one) {
  const artifact = one.artifact === undefined ? undefined : Buffer.from(one.artifact, "base64");
  const entity = toSignedEntity(bundleFromJSON(one.bundle), artifact);
  if (one.key !== undefined) {
    const key = { rawBytes: Buffer.from(one.key, "base64"), keyDetails: PublicKeyDetails.PKIX_ECDSA_P256_SHA_256 };
    const find = () => ({ publicKey: require("crypto").createPublicKey({ key: key.rawBytes, format: "der", type: "spki" }), validFor: () => true });
    new Verifier(toTrustMaterial(NOTHING, find), { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 }).verify(entity);
    return;
  }
  const trust = toTrustMaterial(TrustedRoot.fromJSON(one.trustedRoot));
  new Verifier(trust).verify(entity, { subjectAlternativeName: one.identity });
}

const verdicts = JSON.parse(require("fs").readFileSync(0, "utf8")).map((one) => {
  try {
    judge(one);
    return "ok";
  } catch (error) {
    return `${error.code ?? error.name}`;
  }
});
process.stdout.write(JSON.stringify(verdicts));
