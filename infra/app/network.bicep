// The network of the app and of the database, when there is one. Bulk data reaches storage by the
// service endpoint of the subnet: a private endpoint or a NAT gateway would cost for each GB.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the network.')
param name string

@description('Name of the private DNS zone of the database.')
param zoneName string

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.40.0.0/16'] }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: '10.40.0.0/24'
          delegations: [
            {
              name: 'flex-consumption'
              properties: { serviceName: 'Microsoft.App/environments' }
            }
          ]
          serviceEndpoints: [{ service: 'Microsoft.Storage' }]
        }
      }
      {
        name: 'postgres'
        properties: {
          addressPrefix: '10.40.1.0/28'
          delegations: [
            {
              name: 'postgres'
              properties: { serviceName: 'Microsoft.DBforPostgreSQL/flexibleServers' }
            }
          ]
        }
      }
    ]
  }

  resource app 'subnets' existing = {
    name: 'app'
  }

  resource postgres 'subnets' existing = {
    name: 'postgres'
  }
}

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = {
  name: zoneName
  location: 'global'
  tags: tags

  resource link 'virtualNetworkLinks' = {
    name: 'network'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: { id: network.id }
    }
  }
}

@description('Subnet of the app.')
output appSubnetId string = network::app.id

@description('Subnet of the database.')
output postgresSubnetId string = network::postgres.id

@description('DNS zone of the database.')
output zoneId string = zone.id
