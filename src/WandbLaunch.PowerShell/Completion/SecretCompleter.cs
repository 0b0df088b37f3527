using System.Collections;

namespace WandbLaunch.PowerShell;

/// <summary>Completes names of secrets, of one vault or of all.</summary>
public sealed class SecretCompleter : VaultCompleter
{
    private protected override IReadOnlyList<string> DependsOn => ["Vault"];

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        [
            .. (await AskAsync("Get-SecretInfo", One(bound, "Vault"), token)).Select(s =>
                (Text(s, "Name"), $"{Text(s, "Type")} in {Text(s, "VaultName")}")
            ),
        ];
}
