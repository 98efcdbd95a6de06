// An OpenID provider that we did not write: npm oidc-provider, with one client
// and any user. It listens where it is told and prints a line when it does.
import { Provider } from 'oidc-provider'

const [issuer] = process.argv.slice(2)
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'cambist', redirect_uris: ['http://127.0.0.1/callback'], token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code'], response_types: ['code'], id_token_signed_response_alg: 'ES256',
  }],
  jwks: { keys: [await key()] },
  claims: { openid: ['sub'], profile: ['groups'] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: ['customer'] }) }),
  pkce: { required: () => true },
})
provider.listen(new URL(issuer).port, '127.0.0.1', () => console.log('ready'))

async function key() {
  const { generateKeyPair, exportJWK } = await import('jose')
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  return { ...await exportJWK(privateKey), alg: 'ES256', use: 'sig', kid: 'k1' }
}
