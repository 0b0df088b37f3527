using System.Runtime.CompilerServices;
using Mono.Cecil;
using Mono.Cecil.Cil;

namespace WandbLaunch.ArchitectureTests;

/// <summary>The built assemblies, read as files: nothing of them is loaded or run.</summary>
internal static class Assemblies
{
    internal static readonly string[] Ours =
    [
        "WandbLaunch.Core",
        "WandbLaunch.Host",
        "WandbLaunch.PowerShell",
        "WandbLaunch.Server",
    ];

    internal static ModuleDefinition Read(string name) =>
        ModuleDefinition.ReadModule(Path.Combine(AppContext.BaseDirectory, name + ".dll"));

    /// <summary>The repository, from where this file was compiled.</summary>
    internal static string Root([CallerFilePath] string self = "")
    {
        var folder = Directory.Exists(Path.GetDirectoryName(self))
            ? Path.GetDirectoryName(self)
            : AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "WandbLaunch.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? throw new DirectoryNotFoundException("WandbLaunch.sln is in no folder above the tests.");
    }

    /// <summary>The source files of a folder of the repository, with / between.</summary>
    internal static IEnumerable<string> Sources(string under)
    {
        var root = Root();
        return Directory
            .EnumerateFiles(Path.Combine(root, under), "*.cs", SearchOption.AllDirectories)
            .Select(f => Path.GetRelativePath(root, f).Replace('\\', '/'))
            .Where(f => !f.Split('/').Any(p => p is "bin" or "obj"))
            .Order(StringComparer.Ordinal);
    }

    /// <summary>Equal, or says in full what is new and what is gone.</summary>
    internal static void AssertSame(IEnumerable<string> known, IEnumerable<string> found)
    {
        var (before, now) = (known.ToHashSet(), found.ToHashSet());
        Assert.True(
            before.SetEquals(now),
            string.Join(
                Environment.NewLine,
                now.Except(before)
                    .Order(StringComparer.Ordinal)
                    .Select(f => "new: " + f)
                    .Concat(
                        before.Except(now).Order(StringComparer.Ordinal).Select(f => "gone, take it off the list: " + f)
                    )
            )
        );
    }

    internal static IEnumerable<TypeDefinition> AllTypes(this ModuleDefinition module) =>
        module.Types.SelectMany(WithNested);

    internal static IEnumerable<TypeDefinition> WithNested(this TypeDefinition type) =>
        type.NestedTypes.SelectMany(WithNested).Prepend(type);

    internal static TypeReference Outermost(this TypeReference type)
    {
        while (type.DeclaringType is { } outer)
        {
            type = outer;
        }

        return type;
    }

    internal static bool IsGenerated(this ICustomAttributeProvider member) =>
        member.CustomAttributes.Any(a =>
            a.AttributeType.Name is nameof(CompilerGeneratedAttribute) or "GeneratedCodeAttribute"
        );
}

/// <summary>All types that a type needs: in its signatures, attributes and bodies, with what is nested in it.</summary>
internal sealed class References
{
    private readonly HashSet<TypeReference> _seen = [];
    private readonly SortedSet<string> _names = new(StringComparer.Ordinal);

    /// <summary>The full names of the outermost types that it needs.</summary>
    internal static IReadOnlyCollection<string> Of(TypeDefinition type)
    {
        var references = new References();
        foreach (var part in type.WithNested())
        {
            references.AddType(part);
        }

        return references._names;
    }

    private void AddType(TypeDefinition type)
    {
        Add(type.BaseType);
        Add(type.CustomAttributes);
        Add(type.GenericParameters);
        foreach (var implemented in type.Interfaces)
        {
            Add(implemented.InterfaceType);
        }

        foreach (var field in type.Fields)
        {
            Add(field.FieldType);
            Add(field.CustomAttributes);
        }

        foreach (var property in type.Properties)
        {
            Add(property.PropertyType);
            Add(property.CustomAttributes);
        }

        foreach (var happening in type.Events)
        {
            Add(happening.EventType);
            Add(happening.CustomAttributes);
        }

        foreach (var method in type.Methods)
        {
            Add((MethodReference)method);
            Add(method.CustomAttributes);
            Add(method.MethodReturnType.CustomAttributes);
            foreach (var parameter in method.Parameters)
            {
                Add(parameter.CustomAttributes);
            }

            if (method.HasBody)
            {
                Add(method.Body);
            }
        }
    }

    private void Add(MethodBody body)
    {
        foreach (var variable in body.Variables)
        {
            Add(variable.VariableType);
        }

        foreach (var handler in body.ExceptionHandlers)
        {
            Add(handler.CatchType);
        }

        foreach (var instruction in body.Instructions)
        {
            switch (instruction.Operand)
            {
                case TypeReference type:
                    Add(type);
                    break;
                case MethodReference method:
                    Add(method);
                    break;
                case FieldReference field:
                    Add(field.DeclaringType);
                    Add(field.FieldType);
                    break;
                case Mono.Cecil.CallSite site:
                    Add(site.ReturnType);
                    foreach (var parameter in site.Parameters)
                    {
                        Add(parameter.ParameterType);
                    }

                    break;
            }
        }
    }

    private void Add(MethodReference method)
    {
        Add(method.DeclaringType);
        Add(method.ReturnType);
        Add(method.GenericParameters);
        foreach (var parameter in method.Parameters)
        {
            Add(parameter.ParameterType);
        }

        if (method is GenericInstanceMethod generic)
        {
            foreach (var argument in generic.GenericArguments)
            {
                Add(argument);
            }
        }
    }

    private void Add(IEnumerable<GenericParameter> parameters)
    {
        foreach (var parameter in parameters)
        {
            Add(parameter.CustomAttributes);
            foreach (var constraint in parameter.Constraints)
            {
                Add(constraint.ConstraintType);
            }
        }
    }

    private void Add(IEnumerable<CustomAttribute> attributes)
    {
        foreach (var attribute in attributes)
        {
            Add(attribute.AttributeType);
            foreach (
                var argument in attribute
                    .ConstructorArguments.Concat(attribute.Properties.Select(p => p.Argument))
                    .Concat(attribute.Fields.Select(f => f.Argument))
            )
            {
                Add(argument);
            }
        }
    }

    private void Add(CustomAttributeArgument argument)
    {
        Add(argument.Type);
        switch (argument.Value)
        {
            case TypeReference type:
                Add(type);
                break;
            case CustomAttributeArgument inner:
                Add(inner);
                break;
            case CustomAttributeArgument[] many:
                foreach (var one in many)
                {
                    Add(one);
                }

                break;
        }
    }

    private void Add(TypeReference? type)
    {
        if (type is null || type is GenericParameter || !_seen.Add(type))
        {
            return;
        }

        switch (type)
        {
            case GenericInstanceType generic:
                Add(generic.ElementType);
                foreach (var argument in generic.GenericArguments)
                {
                    Add(argument);
                }

                break;
            case FunctionPointerType pointer:
                Add(pointer.ReturnType);
                foreach (var parameter in pointer.Parameters)
                {
                    Add(parameter.ParameterType);
                }

                break;
            case IModifierType modified:
                Add(modified.ElementType);
                Add(modified.ModifierType);
                break;
            case TypeSpecification specification:
                Add(specification.ElementType);
                break;
            default:
                _names.Add(type.Outermost().FullName);
                break;
        }
    }
}
