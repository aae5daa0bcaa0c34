// The workflow that answers the storage alert: sweep, and no new chunk for 15 minutes. It comes before
// the storage, which lets it in by its id, and before the roles, which are given to its identity.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the workflow.')
param name string

@description('Account that has the control queue.')
param dataAccountName string

resource workflow 'Microsoft.Logic/workflows@2019-05-01' = {
  name: name
  location: location
  tags: tags
  identity: { type: 'SystemAssigned' }
  properties: {
    state: 'Enabled'
    definition: loadJsonContent('../logic/remediation.json')
    parameters: {
      queueUri: {
        value: 'https://${dataAccountName}.queue.${environment().suffixes.storage}/chunk-control'
      }
    }
  }
}

@description('Resource id.')
output id string = workflow.id

@description('Name.')
output name string = workflow.name

@description('Principal of its identity.')
output principalId string = workflow.identity.principalId
