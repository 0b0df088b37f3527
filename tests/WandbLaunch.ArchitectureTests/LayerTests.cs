using System.Text.RegularExpressions;
using Mono.Cecil;

namespace WandbLaunch.ArchitectureTests;

/// <summary>Core's layers: each knows only those above it.</summary>
public sealed partial class LayerTests
{
    private static readonly string[] Layers =
    [
        "Foundation",
        "Model",
        "Wandb",
        "Python",
        "Sources",
        "Resources",
        "Launching",
        "Agents",
        "Import",
        "LocalServer",
    ];

    // Import knows nothing of agents, nor the server's page of either: they stand beside each other at the bottom.
    private static int Depth(string layer) => Array.IndexOf(Layers, layer);

    private static string? LayerOf(string fullName) =>
        fullName.Split('.') is ["WandbLaunch", var layer, _, ..] && Depth(layer) >= 0 ? layer : null;

    [Fact]
    public void Every_type_of_Core_is_in_a_layer()
    {
        using var core = Assemblies.Read("WandbLaunch.Core");
        Assert.Empty(
            core.Types.Where(t =>
                    t.Name != "<Module>"
                    && !t.IsGenerated()
                    && t.Namespace.StartsWith("WandbLaunch", StringComparison.Ordinal)
                    && LayerOf(t.FullName) is null
                )
                .Select(t => t.FullName)
        );
        Assert.Equal(Layers.Order(), core.Types.Select(t => LayerOf(t.FullName)).OfType<string>().Distinct().Order());
    }

    [Fact]
    public void A_layer_knows_only_those_above_it()
    {
        using var core = Assemblies.Read("WandbLaunch.Core");
        var wrong =
            from type in core.Types
            let own = LayerOf(type.FullName)
            where own is not null
            from needed in References.Of(type)
            let other = LayerOf(needed)
            where other is not null && Depth(other) > Depth(own)
            select $"{type.FullName} needs {needed}";
        Assemblies.AssertSame([], wrong);
    }

    // What the compiler writes into the code as a value (const, nameof) is not in the assembly any more.
    [Fact]
    public void A_file_names_no_layer_below_its_own()
    {
        var wrong = new List<string>();
        foreach (var file in Assemblies.Sources("src/WandbLaunch.Core"))
        {
            var text = File.ReadAllText(Path.Combine(Assemblies.Root(), file));
            var own = file.Split('/')[2];
            wrong.AddRange(
                LayerName()
                    .Matches(text)
                    .Select(m => m.Groups[1].Value)
                    .Where(other => Depth(other) > Depth(own))
                    .Distinct()
                    .Select(other => $"{file} names WandbLaunch.{other}")
            );
            if (!text.Contains($"namespace WandbLaunch.{own};", StringComparison.Ordinal))
            {
                wrong.Add($"{file} is not in the namespace WandbLaunch.{own}");
            }
        }

        Assemblies.AssertSame([], wrong);
    }

    [Fact]
    public void Core_knows_nothing_of_PowerShell_or_of_its_own_users()
    {
        using var core = Assemblies.Read("WandbLaunch.Core");
        Assert.DoesNotContain(
            core.AssemblyReferences.Select(r => r.Name),
            n => n == "System.Management.Automation" || n.StartsWith("WandbLaunch.", StringComparison.Ordinal)
        );
    }

    [Theory]
    [InlineData(nameof(Samples.Low.ByBase))]
    [InlineData(nameof(Samples.Low.ByField))]
    [InlineData(nameof(Samples.Low.ByCall))]
    [InlineData(nameof(Samples.Low.ByLambda))]
    [InlineData(nameof(Samples.Low.ByAwait))]
    [InlineData(nameof(Samples.Low.ByGenericArgument))]
    [InlineData(nameof(Samples.Low.ByMethodArgument))]
    [InlineData(nameof(Samples.Low.ByAttribute))]
    [InlineData(nameof(Samples.Low.ByCatch))]
    [InlineData(nameof(Samples.Low.ByTypeOf))]
    [InlineData(nameof(Samples.Low.ByPattern))]
    [InlineData(nameof(Samples.Low.ByConstraint))]
    [InlineData(nameof(Samples.Low.ByArray))]
    public void No_way_to_need_a_type_is_overlooked(string name)
    {
        using var self = ModuleDefinition.ReadModule(typeof(LayerTests).Assembly.Location);
        var type = self.Types.Single(t =>
            t.Namespace.EndsWith("Samples.Low", StringComparison.Ordinal) && t.Name.Split('`')[0] == name
        );
        Assert.Contains(References.Of(type), n => n.Contains("Samples.High.", StringComparison.Ordinal));
    }

    [GeneratedRegex(@"\bWandbLaunch\.([A-Z]\w+)\b")]
    private static partial Regex LayerName();
}
