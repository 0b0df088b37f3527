using System.Management.Automation;
using System.Reflection;
using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace WandbLaunch.Docs;

/// <summary>Writes docs/*.md (PlatyPS' schema) and the MAML help from the cmdlets and their XML docs: one source for all three.</summary>
public static class Program
{
    public static int Main(string[] args)
    {
        var root = args.Length > 0 ? args[0] : Directory.GetCurrentDirectory();
        if (args.Contains("--errors"))
        {
            // What docs/errors.md lacks: it is written by hand, for people.
            ErrorIds.Missing(root).ToList().ForEach(Console.WriteLine);
            return 0;
        }

        foreach (var (path, content) in Generator.Generate(root))
        {
            var full = Path.Combine(root, path);
            Directory.CreateDirectory(Path.GetDirectoryName(full)!);
            File.WriteAllText(full, content);
            Console.WriteLine(path);
        }

        return 0;
    }
}

/// <summary>One example of a cmdlet's help.</summary>
public sealed record Example(string Cmdlet, string Title, string Code, string Remarks);

/// <summary>The generator.</summary>
public static partial class Generator
{
    private static readonly Assembly Cmdlets = typeof(PowerShell.AsyncPSCmdlet).Assembly;

    private static readonly Lazy<Dictionary<string, XElement>> XmlDocs = new(() =>
        XDocument
            .Load(Path.ChangeExtension(Cmdlets.Location, ".xml"))
            .Descendants("member")
            .ToDictionary(m => m.Attribute("name")!.Value)
    );

    private static readonly string[] Common =
    [
        "Verbose",
        "Debug",
        "ErrorAction",
        "WarningAction",
        "InformationAction",
        "ErrorVariable",
        "WarningVariable",
        "InformationVariable",
        "OutVariable",
        "OutBuffer",
        "PipelineVariable",
        "ProgressAction",
    ];

    public static IEnumerable<Type> CmdletTypes =>
        Cmdlets
            .GetExportedTypes()
            .Where(t => t.GetCustomAttribute<CmdletAttribute>() is not null)
            .OrderBy(Name, StringComparer.Ordinal);

    public static string Name(Type type) =>
        type.GetCustomAttribute<CmdletAttribute>() is { } c ? $"{c.VerbName}-{c.NounName}" : type.Name;

    public static IEnumerable<Example> Examples(Type type) =>
        Doc("T:" + type.FullName)
            .Elements("example")
            .Select(e =>
            {
                var paras = e.Elements("para").Select(p => Clean(p)).ToList();
                return new Example(
                    Name(type),
                    paras[0],
                    e.Element("code")!.Value.Trim(),
                    string.Join("\n\n", paras.Skip(1))
                );
            });

    /// <summary>All files that are made: a page for each cmdlet, their help, and a help text for each about_ page of the tree.</summary>
    public static Dictionary<string, string> Generate(string root)
    {
        var home = ProjectUri(root);
        var files = CmdletTypes.ToDictionary(t => $"docs/{Name(t)}.md", t => Markdown(t, home));
        files["src/WandbLaunch.PowerShell/en-US/WandbLaunch.PowerShell.dll-Help.xml"] = Maml(home);
        foreach (var (path, content) in AboutTopic.All(root))
        {
            files[path] = content;
        }

        return files;
    }

    /// <summary>The parameters of a cmdlet, also the common ones, and their aliases.</summary>
    public static IEnumerable<string> ParameterNames(Type type) =>
        Info(type)
            .ParameterSets.SelectMany(s => s.Parameters)
            .SelectMany(p => p.Aliases.Append(p.Name))
            .Concat(Common)
            .Distinct();

    /// <summary>The parameters of a cmdlet's own, with their help.</summary>
    public static IEnumerable<(string Name, string Description)> Descriptions(Type type) =>
        Parameters(Info(type)).Select(p => (p.Name, Description(type, p)));

    /// <summary>What Get-Help -Online opens for a cmdlet.</summary>
    public static string HelpUri(Type type, string home) => $"{home}/blob/main/docs/{Name(type)}.md";

    /// <summary>The project's home, as the module's manifest says it.</summary>
    public static string ProjectUri(string root) =>
        ManifestUri().Match(File.ReadAllText(Path.Combine(root, "WandbLaunch.psd1"))).Groups[1].Value;

    private static XElement Doc(string id) => XmlDocs.Value.TryGetValue(id, out var doc) ? doc : new XElement("none");

    private static string Summary(Type type) => Clean(Doc("T:" + type.FullName).Element("summary"));

    private static string[] Remarks(Type type) =>
        [
            .. Paragraphs(Doc("T:" + type.FullName).Element("remarks")),
            .. type.GetCustomAttribute<AliasAttribute>() is { } alias
                ? new[] { $"Alias: {string.Join(", ", alias.AliasNames)}" }
                : [],
        ];

    private static string Describe(PropertyInfo property)
    {
        for (var type = property.DeclaringType; type is not null; type = type.BaseType)
        {
            if (Doc($"P:{type.FullName}.{property.Name}").Element("summary") is { } found)
            {
                return Clean(found);
            }
        }

        return "";
    }

    private static string Clean(XElement? element) =>
        element is null
            ? ""
            : White()
                .Replace(
                    string.Concat(
                        element
                            .DescendantNodes()
                            .Select(n =>
                                n switch
                                {
                                    XText text => text.Value,
                                    XElement { Name.LocalName: "see" } see => (
                                        see.Attribute("cref")?.Value ?? ""
                                    ).Split('.')[^1],
                                    _ => "",
                                }
                            )
                    ),
                    " "
                )
                .Trim();

    private static string[] Paragraphs(XElement? element) =>
        element is null
            ? []
            :
            [
                .. element
                    .Value.Replace("\r", "", StringComparison.Ordinal)
                    .Split("\n\n")
                    .Select(p => White().Replace(p, " ").Trim()),
            ];

    private static CmdletInfo Info(Type type) => new CmdletInfo(Name(type), type);

    private static PropertyInfo Property(Type type, string name) => type.GetProperty(name)!;

    private static bool IsOwn(CommandParameterInfo p) => !Common.Contains(p.Name);

    private static string Description(Type type, CommandParameterInfo p) =>
        p.Name switch
        {
            "WhatIf" => "Shows what would happen, and changes nothing.",
            "Confirm" => "Asks before anything is changed.",
            _ => Describe(Property(type, p.Name)),
        };

    private static string TypeName(Type type)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        return type == typeof(SwitchParameter) ? "SwitchParameter"
            : type.IsArray ? TypeName(type.GetElementType()!) + "[]"
            : type == typeof(System.Collections.IDictionary) ? "IDictionary"
            : type.Name;
    }

    private static string Syntax(string name, CommandParameterSetInfo set)
    {
        var text = new StringBuilder(name);
        foreach (var p in set.Parameters.Where(IsOwn).OrderBy(p => p.Position < 0 ? int.MaxValue : p.Position))
        {
            var word =
                p.ParameterType == typeof(SwitchParameter) ? $"-{p.Name}"
                : p.Position >= 0 ? $"[-{p.Name}] <{TypeName(p.ParameterType)}>"
                : $"-{p.Name} <{TypeName(p.ParameterType)}>";
            text.Append(p.IsMandatory ? $" {word}" : $" [{word}]");
        }

        return text.Append(" [<CommonParameters>]").ToString();
    }

    private static string Markdown(Type type, string home)
    {
        var name = Name(type);
        var info = Info(type);
        var text = new StringBuilder();
        text.Append(
            $"---\nexternal help file: WandbLaunch.PowerShell.dll-Help.xml\nModule Name: WandbLaunch\nonline version: {HelpUri(type, home)}\nschema: 2.0.0\n---\n\n# {name}\n\n## SYNOPSIS\n\n{Summary(type)}\n\n## SYNTAX\n\n"
        );
        foreach (var set in info.ParameterSets)
        {
            text.Append(info.ParameterSets.Count > 1 ? $"### {set.Name}{(set.IsDefault ? " (Default)" : "")}\n\n" : "")
                .Append($"```\n{Syntax(name, set)}\n```\n\n");
        }

        text.Append($"## DESCRIPTION\n\n{string.Join("\n\n", Remarks(type))}\n\n## EXAMPLES\n\n");
        var number = 1;
        foreach (var example in Examples(type))
        {
            text.Append(
                $"### Example {number++}: {example.Title}\n\n```powershell\n{example.Code}\n```\n\n{example.Remarks}\n\n"
            );
        }

        text.Append("## PARAMETERS\n\n");
        foreach (var p in Parameters(info))
        {
            var sets = info
                .ParameterSets.Where(s => s.Parameters.Any(x => x.Name == p.Name))
                .Select(s => s.Name == "__AllParameterSets" ? "(All)" : s.Name)
                .ToList();
            var property = p.Name is "WhatIf" or "Confirm" ? null : Property(type, p.Name);
            text.Append(
                $"### -{p.Name}\n\n{Description(type, p)}\n\n```yaml\nType: {TypeName(p.ParameterType)}\nParameter Sets: {(sets.Count == info.ParameterSets.Count ? "(All)" : string.Join(", ", sets))}\nAliases:{(p.Aliases.Count > 0 ? " " + string.Join(", ", p.Aliases) : "")}\n\n"
            );
            text.Append(
                $"Required: {(p.IsMandatory ? "True" : "False")}\nPosition: {(p.Position >= 0 ? p.Position.ToString(System.Globalization.CultureInfo.InvariantCulture) : "Named")}\nDefault value: None\n"
            );
            text.Append(
                $"Accept pipeline input: {Pipeline(p)}\nAccept wildcard characters: {(property?.GetCustomAttribute<SupportsWildcardsAttribute>() is not null ? "True" : "False")}\n```\n\n"
            );
        }

        text.Append(
            "### CommonParameters\n\nThis cmdlet supports the common parameters. See [about_CommonParameters](http://go.microsoft.com/fwlink/?LinkID=113216).\n\n## INPUTS\n\n"
        );
        text.Append(
                string.Join(
                    "\n\n",
                    Parameters(info)
                        .Where(p => p.ValueFromPipeline)
                        .Select(p => "### " + TypeName(p.ParameterType))
                        .DefaultIfEmpty("### None")
                )
            )
            .Append("\n\n## OUTPUTS\n\n");
        text.Append(string.Join("\n\n", Outputs(type).Select(o => "### " + o).DefaultIfEmpty("### None")))
            .Append("\n\n## NOTES\n\n## RELATED LINKS\n");
        return text.ToString();
    }

    private static string Pipeline(CommandParameterInfo p) =>
        (p.ValueFromPipeline, p.ValueFromPipelineByPropertyName) switch
        {
            (true, true) => "True (ByPropertyName, ByValue)",
            (true, false) => "True (ByValue)",
            (false, true) => "True (ByPropertyName)",
            _ => "False",
        };

    private static IEnumerable<CommandParameterInfo> Parameters(CmdletInfo info) =>
        info
            .ParameterSets.SelectMany(s => s.Parameters)
            .Where(IsOwn)
            .DistinctBy(p => p.Name)
            .OrderBy(p => p.Name is "WhatIf" or "Confirm")
            .ThenBy(p => p.Name, StringComparer.Ordinal);

    private static IEnumerable<string> Outputs(Type type) =>
        type.GetCustomAttributes<OutputTypeAttribute>().SelectMany(o => o.Type).Select(t => t.Name);

    private static string Maml(string home)
    {
        XNamespace msh = "http://msh",
            maml = "http://schemas.microsoft.com/maml/2004/10",
            command = "http://schemas.microsoft.com/maml/dev/command/2004/10",
            dev = "http://schemas.microsoft.com/maml/dev/2004/10";
        XElement Para(string text) => new(maml + "para", text);
        var items = new XElement(
            msh + "helpItems",
            new XAttribute("schema", "maml"),
            new XAttribute(XNamespace.Xmlns + "msh", msh.NamespaceName)
        );
        foreach (var type in CmdletTypes)
        {
            var name = Name(type);
            var info = Info(type);
            XElement Parameter(CommandParameterInfo p) =>
                new(
                    command + "parameter",
                    new XAttribute("required", p.IsMandatory ? "true" : "false"),
                    new XAttribute("variableLength", "true"),
                    new XAttribute(
                        "globbing",
                        p.Name is not ("WhatIf" or "Confirm")
                        && Property(type, p.Name).GetCustomAttribute<SupportsWildcardsAttribute>() is not null
                            ? "true"
                            : "false"
                    ),
                    new XAttribute("pipelineInput", Pipeline(p)),
                    new XAttribute(
                        "position",
                        p.Position >= 0
                            ? p.Position.ToString(System.Globalization.CultureInfo.InvariantCulture)
                            : "named"
                    ),
                    new XAttribute("aliases", p.Aliases.Count > 0 ? string.Join(", ", p.Aliases) : "none"),
                    new XElement(maml + "name", p.Name),
                    new XElement(maml + "description", Para(Description(type, p))),
                    p.ParameterType == typeof(SwitchParameter)
                        ? null
                        : new XElement(
                            command + "parameterValue",
                            new XAttribute("required", "true"),
                            new XAttribute("variableLength", "false"),
                            TypeName(p.ParameterType)
                        ),
                    new XElement(
                        dev + "type",
                        new XElement(maml + "name", TypeName(p.ParameterType)),
                        new XElement(maml + "uri")
                    ),
                    new XElement(dev + "defaultValue", "None")
                );

            items.Add(
                new XElement(
                    command + "command",
                    new XAttribute(XNamespace.Xmlns + "maml", maml.NamespaceName),
                    new XAttribute(XNamespace.Xmlns + "command", command.NamespaceName),
                    new XAttribute(XNamespace.Xmlns + "dev", dev.NamespaceName),
                    new XElement(
                        command + "details",
                        new XElement(command + "name", name),
                        new XElement(command + "verb", name.Split('-')[0]),
                        new XElement(command + "noun", name.Split('-')[1]),
                        new XElement(maml + "description", Para(Summary(type)))
                    ),
                    new XElement(maml + "description", Remarks(type).Select(Para)),
                    new XElement(
                        command + "syntax",
                        info.ParameterSets.Select(s => new XElement(
                            command + "syntaxItem",
                            new XElement(maml + "name", name),
                            s.Parameters.Where(IsOwn)
                                .OrderBy(p => p.Position < 0 ? int.MaxValue : p.Position)
                                .Select(Parameter)
                        ))
                    ),
                    new XElement(command + "parameters", Parameters(info).Select(Parameter)),
                    new XElement(
                        command + "returnValues",
                        Outputs(type)
                            .Select(o => new XElement(
                                command + "returnValue",
                                new XElement(dev + "type", new XElement(maml + "name", o), new XElement(maml + "uri")),
                                new XElement(maml + "description", Para(""))
                            ))
                    ),
                    new XElement(
                        command + "examples",
                        Examples(type)
                            .Select(
                                (e, i) =>
                                    new XElement(
                                        command + "example",
                                        new XElement(maml + "title", $"Example {i + 1}: {e.Title}"),
                                        new XElement(dev + "code", e.Code),
                                        new XElement(dev + "remarks", Para(e.Remarks))
                                    )
                            )
                    ),
                    new XElement(
                        command + "relatedLinks",
                        new XElement(
                            maml + "navigationLink",
                            new XElement(maml + "linkText", "Online version:"),
                            new XElement(maml + "uri", HelpUri(type, home))
                        )
                    )
                )
            );
        }

        return "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
            + items.ToString().Replace("\r\n", "\n", StringComparison.Ordinal)
            + "\n";
    }

    [GeneratedRegex(@"\s+")]
    private static partial Regex White();

    [GeneratedRegex(@"(?m)^\s*ProjectUri\s*=\s*'([^']+)'")]
    private static partial Regex ManifestUri();
}
