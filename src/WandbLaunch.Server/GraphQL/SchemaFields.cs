using GraphQL;
using GraphQL.Resolvers;
using GraphQL.Types;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>The fields of a part of the schema that are more than a value of a row.</summary>
internal interface ISchemaPart
{
    void AddTo(SchemaFields fields);
}

/// <summary>The .graphql files beside this, which make one schema, whose fields get their resolvers.</summary>
internal sealed class SchemaFields
{
    /// <summary>The value of a row that says which of an interface's or a union's types it is.</summary>
    internal const string TypeName = "__typename";

    private static readonly string[] Abstract = ["ArtifactCollection", "ArtifactCreator"];
    private static readonly string[] Files = ["schema", "runs", "people", "artifacts", "sweeps"];

    private readonly ISchema _schema;
    private readonly HashSet<(string, string)> _asking = [];
    private readonly MutationAccess _access;
    private readonly AuditLog _audit;

    private SchemaFields(ISchema schema, MutationAccess access, AuditLog audit)
    {
        _schema = schema;
        _access = access;
        _audit = audit;
    }

    /// <summary>Makes the schema; of the 2022 generation it lacks what came later, so that clients are tried against both.</summary>
    internal static ISchema Build(
        IEnumerable<ISchemaPart> parts,
        MutationAccess access,
        AuditLog audit,
        bool generation2022
    )
    {
        var text = string.Join('\n', Files.Select(Read));
        if (generation2022)
        {
            text = string.Join(
                '\n',
                text.Split('\n')
                    .Where(l =>
                        !l.EndsWith("# today", StringComparison.Ordinal)
                        && !l.EndsWith("# own", StringComparison.Ordinal)
                    )
            );
        }

        GraphQL.Types.Schema? made = null;
        var schema = made = GraphQL.Types.Schema.For(
            text,
            builder =>
            {
                foreach (var name in Abstract)
                {
                    builder.Types.For(name).ResolveType = row =>
                        (IObjectGraphType)made!.AllTypes[(string)((Row)row)[TypeName]!]!;
                }
            }
        );
        schema.RegisterType(new JsonScalar());
        schema.RegisterType(new TextScalar("JSONString"));
        schema.RegisterType(new TextScalar("DateTime"));
        schema.RegisterType(new LongScalar("Int64"));
        schema.RegisterType(new LongScalar("Duration"));
        schema.Initialize();
        foreach (
            var type in schema
                .AllTypes.OfType<IObjectGraphType>()
                .Where(t => !t.Name.StartsWith("__", StringComparison.Ordinal))
        )
        {
            foreach (var field in type.Fields)
            {
                // A plain field is the row's value of that name.
                var name = field.Name;
                field.Resolver = new FuncFieldResolver<object?>(c => ((Row)c.Source!).GetValueOrDefault(name));
            }
        }

        var fields = new SchemaFields(schema, access, audit);
        foreach (var part in parts)
        {
            part.AddTo(fields);
        }

        GraphQLLimits.Count(schema, (type, field) => fields._asking.Contains((type, field)));
        return schema;
    }

    private static string Read(string file)
    {
        using var reader = new StreamReader(
            typeof(SchemaFields).Assembly.GetManifestResourceStream(file + ".graphql")!
        );
        return reader.ReadToEnd();
    }

    /// <summary>Sets how a field is answered; one that this generation lacks is left out.</summary>
    internal void Set(string type, string field, Func<IResolveFieldContext, object?> resolve)
    {
        if (((IObjectGraphType)_schema.AllTypes[type]!).Fields.Find(field) is { } found)
        {
            found.Resolver = new FuncFieldResolver<object?>(resolve);
            _asking.Add((type, field));
        }
    }

    /// <summary>Sets what a mutation does. Every name in its input is looked at here, and whether the caller may, before anything is made of it; what was done is noted.</summary>
    internal void Mutation(string field, Func<IResolveFieldContext, Dictionary<string, object?>, object?> act) =>
        Set(
            "Mutation",
            field,
            c =>
            {
                var input = c.Input();
                Names.CheckInput(field, input);
                var request = AnswerBudget.Of(c);
                if (!_access.Allows(request.Caller, field, input))
                {
                    _audit.Add(
                        request.Http,
                        request.Caller,
                        AuditAction.Refused,
                        MutationAudit.Note(field, input, null)
                    );
                    throw new ServerFault(request.Caller.Refusal);
                }

                var result = act(c, input);
                if (MutationAudit.Action(field, result) is { } action)
                {
                    _audit.Add(request.Http, request.Caller, action, MutationAudit.Note(field, input, result));
                }

                return result;
            }
        );
}
