// jose: an access token verified with the published keys.
import { createRemoteJWKSet, customFetch, jwtVerify } from 'jose'
import { assert, fetch, world } from './world.mjs'

const keys = createRemoteJWKSet(new URL(`${world.issuer}/oauth2/jwks`), { [customFetch]: fetch })
for (const token of world.tokens) {
  const { payload, protectedHeader } = await jwtVerify(token.value, keys, { issuer: world.issuer, audience: token.audience, typ: 'at+jwt', requiredClaims: ['sub', 'client_id', 'jti', 'scope'] })
  assert(protectedHeader.alg === token.alg && payload.client_id === world.workload, `${token.alg}: claims`)
  let refused
  try { await jwtVerify(token.value, keys, { issuer: world.issuer, audience: 'https://other.example' }) } catch (e) { refused = e }
  assert(refused, `${token.alg}: refused for another audience`)
}
console.log('ok')
